# SPDX-License-Identifier: Apache-2.0
"""What a rendered batch is compared by: L1 (the paper's only term), SSIM, LPIPS; pixels of weight 0 are ignored."""

from __future__ import annotations

from torch import Tensor

from blendsplat.image_metrics.lpips import Lpips
from blendsplat.image_metrics.psnr_ssim import ssim, weighted_mean
from blendsplat.training.presets import Preset


def image_loss(
    images: Tensor, targets: Tensor, valid: Tensor, weights: Tensor, preset: Preset, lpips: Lpips | None = None
) -> Tensor:
    """Scalar loss of images and targets [B,H,W,3] with pixel weights valid [B,H,W,1] and weights [B] of whole frames;
    lpips: the metric, in batches where it counts."""
    loss = preset.l1_weight * (weights * weighted_mean((images - targets).abs(), valid)).mean()
    if preset.ssim_weight:
        loss = loss + preset.ssim_weight * (weights * (1 - ssim(images, targets, valid))).mean()
    if lpips is not None:
        loss = loss + preset.lpips_weight * (weights * lpips(images * valid, targets * valid)).mean()
    return loss
