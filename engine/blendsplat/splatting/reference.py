# SPDX-License-Identifier: Apache-2.0
"""The rasterizer's meaning in plain PyTorch, float64, with autograd: the oracle of every backend's tests.

It is written for reading, not for speed: every Gaussian is evaluated at every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.geometry import quat_to_matrix

LOW_PASS, ALPHA_MAX, ALPHA_MIN, STOP, FRUSTUM_MARGIN = 0.3, 0.99, 1 / 255, 1e-4, 0.3


def rasterize_reference(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
    width: int, height: int, backgrounds: Tensor | None = None, near_plane: float = 0.01, smooth: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """As blendsplat.splatting.rasterize_gaussians, in float64. smooth=True leaves out the clamp, the cut-off and the
    stop, which makes the image a smooth function of the parameters (for finite differences)."""
    images = []
    for b in range(means.shape[0]):
        m, q, s, o, c, view, K = (t[b].double() for t in (means, quats, scales, opacities, colors, viewmats, Ks))
        background = None if backgrounds is None else backgrounds[b].double()
        images.append(_render(m, q, s, o, c, view, K, width, height, background, near_plane, smooth))
    return torch.stack([i[0] for i in images]), torch.stack([i[1] for i in images]), torch.stack([i[2] for i in images])


def project_reference(
    means: Tensor, quats: Tensor, scales: Tensor, viewmat: Tensor, K: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor]:
    """EWA projection of N Gaussians: screen means [N,2], covariances [N,2,2] low-passed, camera z [N]."""
    camera = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    z = camera[:, 2]
    ratio = camera[:, :2] / z[:, None]
    focal, centre = K.diagonal()[:2], K[:2, 2]
    size = torch.tensor([width, height], dtype=means.dtype)
    margin = FRUSTUM_MARGIN * 0.5 * size / focal
    clamped = torch.minimum(torch.maximum(ratio, -centre / focal - margin), (size - centre) / focal + margin)
    jacobian = torch.zeros(means.shape[0], 2, 3, dtype=means.dtype)
    jacobian[:, 0, 0], jacobian[:, 0, 2] = focal[0] / z, -focal[0] * clamped[:, 0] / z
    jacobian[:, 1, 1], jacobian[:, 1, 2] = focal[1] / z, -focal[1] * clamped[:, 1] / z
    axes = jacobian @ viewmat[:3, :3] @ quat_to_matrix(quats) @ torch.diag_embed(scales)
    return ratio * focal + centre, axes @ axes.mT + LOW_PASS * torch.eye(2, dtype=means.dtype), z


@dataclass(frozen=True)
class Choices:
    """The decisions that make an image jump, taken once: freeze them and it is smooth in every parameter."""

    clamped: Tensor  # [P,n] bool: alpha held at ALPHA_MAX
    drawn: Tensor  # [P,n] bool: neither cut off nor behind the stop


def depth_order(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmat: Tensor, near_plane: float
) -> Tensor:
    """Indices of the Gaussians that may be drawn, front to back; equal depths keep the order of the input."""
    z = (means @ viewmat[:3, :3].T + viewmat[:3, 3])[:, 2]
    everything = torch.cat([means, quats, scales, opacities[:, None], colors], 1)
    usable = everything.isfinite().all(1) & (quats.norm(dim=1) > 0) & (z > near_plane)
    order = torch.nonzero(usable)[:, 0]
    return order[torch.argsort(z[order], stable=True)]


def alpha_reference(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, viewmat: Tensor, K: Tensor,
    width: int, height: int, pixels: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Unclamped alpha [P,n] of n Gaussians at P pixel centres [P,2], and camera z [n]."""
    centres, covariances, z = project_reference(means, quats, scales, viewmat, K, width, height)
    (dx, dy), inverse = (pixels[:, None] - centres).unbind(-1), covariances.inverse()
    square = inverse[:, 0, 0] * dx * dx + 2 * inverse[:, 0, 1] * dx * dy + inverse[:, 1, 1] * dy * dy
    return opacities * torch.exp(-0.5 * square), z


def choose(alpha: Tensor) -> Choices:
    """The rasterizer's decisions for alphas [P,n] front to back."""
    limited = alpha.clamp(max=ALPHA_MAX)
    visible = torch.where(limited >= ALPHA_MIN, limited, torch.zeros_like(limited))
    return Choices(alpha > ALPHA_MAX, (visible > 0) & (torch.cumprod(1 - visible, 1) >= STOP))


def composite_reference(
    alpha: Tensor, choices: Choices | None, colors: Tensor, z: Tensor, background: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Image [P,3], alpha [P,1] and depth [P,1] of unclamped alphas [P,n] front to back; without choices all count."""
    weight = weights_reference(alpha, choices)
    image, depth, total = weight @ colors, weight @ z[:, None], weight.sum(1, keepdim=True)
    return image if background is None else image + (1 - total) * background, total, depth


def weights_reference(alpha: Tensor, choices: Choices | None) -> Tensor:
    """What each of n Gaussians adds to each of P pixels [P,n]: alpha times the transmittance in front of it."""
    if choices is not None:
        alpha = torch.where(choices.clamped, torch.full_like(alpha, ALPHA_MAX), alpha)
        alpha = torch.where(choices.drawn, alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, 1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], 1)
    return alpha * before


def pixel_centres(width: int, height: int) -> Tensor:
    """[H*W,2] float64, row by row."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows], -1).reshape(-1, 2).double() + 0.5


def _render(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmat: Tensor, K: Tensor,
    width: int, height: int, background: Tensor | None, near_plane: float, smooth: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    order = depth_order(means, quats, scales, opacities, colors, viewmat, near_plane)
    shapes = (means[order], quats[order], scales[order], opacities[order])
    alpha, z = alpha_reference(*shapes, viewmat, K, width, height, pixel_centres(width, height))
    choices = None if smooth else choose(alpha)
    image, total, depth = composite_reference(alpha, choices, colors[order], z, background)
    return image.reshape(height, width, 3), total.reshape(height, width, 1), depth.reshape(height, width, 1)
