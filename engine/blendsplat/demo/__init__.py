# SPDX-License-Identifier: Apache-2.0
"""The demo: a clip of the head that ships, with a known truth, and the product's stages on it."""
