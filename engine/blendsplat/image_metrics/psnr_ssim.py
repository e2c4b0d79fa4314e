# SPDX-License-Identifier: Apache-2.0
"""PSNR and SSIM as the head-avatar papers compute them, with pixels that can be ignored. Differentiable.

Images are [B,H,W,3] in display-referred [0,1]; weights [B,H,W,1] hold 0 where a pixel does not count.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

_WINDOW = 11
_SIGMA = 1.5


def weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean [B] over all axes but the first of values [B,H,W,C], pixels weighted by [B,H,W,1]."""
    if weights is None:
        return values.flatten(1).mean(1)
    total = (weights.flatten(1).sum(1) * values.shape[-1]).clamp_min(1e-8)
    return (values * weights).flatten(1).sum(1) / total


def psnr(images: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio [B] in dB for a peak of 1; 100 for equal images."""
    return -10 * weighted_mean((images - targets) ** 2, weights).clamp_min(1e-10).log10()


def ssim(images: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Structural similarity [B]: 11x11 Gaussian of sigma 1.5, zero padding (Wang et al. 2004), mean over pixels that
    count. Pixels that do not count are black in both images."""
    if weights is not None:
        images, targets = images * weights, targets * weights
    return weighted_mean(ssim_map(images, targets), weights)


def ssim_map(images: Tensor, targets: Tensor) -> Tensor:
    """SSIM per pixel and channel [B,H,W,3]."""
    batch, height, width, channels = images.shape
    x, y = (t.permute(0, 3, 1, 2).reshape(-1, 1, height, width) for t in (images, targets))
    stacked = torch.cat([x, y, x * x, y * y, x * y])
    mean_x, mean_y, xx, yy, xy = _blur(stacked).chunk(5)
    variance_x, variance_y, covariance = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return similarity.reshape(batch, channels, height, width).permute(0, 2, 3, 1)


def _blur(images: Tensor) -> Tensor:
    """Separable Gaussian of [M,1,H,W], zero padding. As channels of one picture they take a fifth."""
    place = torch.arange(_WINDOW, dtype=images.dtype, device=images.device) - _WINDOW // 2
    kernel = torch.exp(-(place**2) / (2 * _SIGMA**2))
    kernel = kernel / kernel.sum()
    count = images.shape[0]
    down = kernel.view(1, 1, -1, 1).expand(count, 1, -1, 1)
    right = kernel.view(1, 1, 1, -1).expand(count, 1, 1, -1)
    rows = conv2d(images.transpose(0, 1), down, padding=(_WINDOW // 2, 0), groups=count)
    return conv2d(rows, right, padding=(0, _WINDOW // 2), groups=count).transpose(0, 1)
