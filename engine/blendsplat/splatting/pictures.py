# SPDX-License-Identifier: Apache-2.0
"""Drawn planes as pictures: RGBA, and metres along the camera's axis."""

from __future__ import annotations

import torch
from torch import Tensor


def pictures_of(image: Tensor, alpha: Tensor, depth: Tensor, opaque: bool, faintest: float) -> tuple[Tensor, Tensor]:
    """image [B,H,W,3], alpha and depth [B,H,W,1], premultiplied -> (RGBA [B,H,W,4], metres [B,H,W]), not views of them.

    opaque: alpha is 1. metres: the mean over what a pixel shows, 0 where its alpha is at most ``faintest``."""
    rgba = torch.cat([image, torch.ones_like(alpha) if opaque else alpha], -1)
    metres = (depth / alpha.clamp_min(faintest)).masked_fill_(alpha <= faintest, 0)
    return rgba, metres[..., 0]
