# SPDX-License-Identifier: Apache-2.0
"""RGBAvatar (Li et al. 2025): reduced Gaussian blendshapes and the small network that weighs them."""
