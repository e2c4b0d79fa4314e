# SPDX-License-Identifier: Apache-2.0
"""Training RGBAvatar: the step, its passes, its rates."""
