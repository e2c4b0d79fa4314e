# SPDX-License-Identifier: Apache-2.0
"""The demo: a clip of the builtin head with a known truth, and the product's stages on it."""
