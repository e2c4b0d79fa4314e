# SPDX-License-Identifier: Apache-2.0
"""The rasterizer's meaning in plain PyTorch, float64, with autograd: the oracle of every backend's tests.

It is written for reading, not for speed: every Gaussian is evaluated at every pixel.
"""

from __future__ import annotations

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


def _render(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmat: Tensor, K: Tensor,
    width: int, height: int, background: Tensor | None, near_plane: float, smooth: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    z = (means @ viewmat[:3, :3].T + viewmat[:3, 3])[:, 2]
    everything = torch.cat([means, quats, scales, opacities[:, None], colors], 1)
    usable = everything.isfinite().all(1) & (quats.norm(dim=1) > 0) & (z > near_plane)
    order = torch.nonzero(usable)[:, 0]
    order = order[torch.argsort(z[order], stable=True)]
    centres, covariances, z = project_reference(means[order], quats[order], scales[order], viewmat, K, width, height)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows], -1).reshape(-1, 1, 2).double() + 0.5
    offset = pixels - centres
    alpha = opacities[order] * torch.exp(-0.5 * torch.einsum("pni,nij,pnj->pn", offset, covariances.inverse(), offset))
    if not smooth:
        alpha = alpha.clamp(max=ALPHA_MAX)
        alpha = torch.where(alpha >= ALPHA_MIN, alpha, torch.zeros_like(alpha))
        alpha = torch.where(torch.cumprod(1 - alpha, 1) >= STOP, alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, 1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], 1)
    weight = alpha * before
    image, depth, total = weight @ colors[order], weight @ z, weight.sum(1)
    if background is not None:
        image = image + (1 - total)[:, None] * background
    return image.reshape(height, width, 3), total.reshape(height, width, 1), depth.reshape(height, width, 1)
