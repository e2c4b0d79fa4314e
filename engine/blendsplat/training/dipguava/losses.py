# SPDX-License-Identifier: Apache-2.0
"""What keeps Gaussians near their triangles and small (DipGuava, eq. 13 and 14)."""

from __future__ import annotations

from torch import Tensor


def position_loss(positions: Tensor, limit: float) -> Tensor:
    """Local positions [...,N,3] -> mean over the Gaussians of how far they are beyond ``limit``.

    The paper writes the norm over all of them; the mean is the same pull whatever their number, as the code of
    GaussianAvatars, which it follows, has it for the scales."""
    return (positions.norm(dim=-1) - limit).relu().mean()


def scale_loss(log_scales: Tensor, limit: float) -> Tensor:
    """Local log-scales [...,N,3] -> mean over the Gaussians of the length of what is above ``limit``."""
    excess = (log_scales.exp() - limit).relu()
    return (excess.square().sum(-1) + 1e-12).sqrt().mean()
