# SPDX-License-Identifier: Apache-2.0
"""The surfel rasterizer's meaning in plain PyTorch, float64, with autograd: the oracle of every backend's tests.

It intersects every pixel's ray with every surfel's plane by Cramer's rule in camera space, which the kernels never do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.geometry import quat_to_matrix
from blendsplat.splatting.reference import choose, depth_order, pixel_centres, weights_reference

THINNEST, EDGE_ON = 1e-3, 1e-5  # px; |n . ray|: below either, only the low-pass is drawn


def rasterize_surfels_reference(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
    width: int, height: int, backgrounds: Tensor | None = None, near_plane: float = 0.01, smooth: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """As blendsplat.splatting.rasterize_surfels, in float64. smooth=True leaves out the clamp, the cut-off, the stop
    and the low-pass, which makes the image a smooth function of the parameters."""
    images = []
    for b in range(means.shape[0]):
        m, q, s, o, c, view, K = (t[b].double() for t in (means, quats, scales, opacities, colors, viewmats, Ks))
        background = None if backgrounds is None else backgrounds[b].double()
        images.append(_render(m, q, s, o, c, view, K, width, height, background, near_plane, smooth))
    return tuple(torch.stack(planes) for planes in zip(*images, strict=True))  # type: ignore[return-value]


def _render(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmat: Tensor, K: Tensor,
    width: int, height: int, background: Tensor | None, near_plane: float, smooth: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    camera = means @ viewmat[:3, :3].T + viewmat[:3, 3]
    order = depth_order(means, quats, scales, opacities, colors, viewmat, near_plane)
    mean, scale = camera[order], scales[order]
    axes = viewmat[:3, :3] @ quat_to_matrix(quats[order])
    normal = axes[:, :, 2]
    normal = torch.where((normal * mean).sum(1, keepdim=True) > 0, -normal, normal)
    pixels = pixel_centres(width, height)
    rays = torch.cat([(pixels - K[:2, 2]) / K.diagonal()[:2], torch.ones_like(pixels[:, :1])], 1)
    falloff, depth = _intersect(mean, axes[:, :, :2] * scale[:, None], rays)
    if not smooth:
        centres = mean[:, :2] / mean[:, 2:] * K.diagonal()[:2] + K[:2, 2]
        on_screen = 2 * ((pixels[:, None] - centres) ** 2).sum(-1)
        on_disc = (falloff < on_screen) & (depth > near_plane) & ~_thin(mean, axes, normal, scale, K)
        # An infinite falloff on the unchosen side would make its zero gradient NaN: leave it out before choosing.
        falloff = torch.where(on_disc, torch.where(on_disc, falloff, 0), on_screen)
        depth = torch.where(on_disc, torch.where(on_disc, depth, 0), mean[:, 2])
    alpha = opacities[order] * torch.exp(-0.5 * falloff)
    weight = weights_reference(alpha, None if smooth else choose(alpha))
    image, total = weight @ colors[order], weight.sum(1)
    if background is not None:
        image = image + (1 - total)[:, None] * background
    shape = (height, width)
    planes = image, total, (weight * depth).sum(1), weight @ normal
    return tuple(plane.reshape(*shape, -1) for plane in planes)  # type: ignore[return-value]


def _intersect(mean: Tensor, tangents: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """means [N,3], tangents [N,3,2] (scaled), rays [P,3] with z = 1 -> u^2 + v^2 and depth [P,N] where they meet."""
    t_u, t_v = tangents.unbind(-1)
    across = torch.linalg.cross(t_u, t_v)
    denominator = rays @ across.T
    inverse = 1 / torch.where(denominator == 0, torch.full_like(denominator, 1e-300), denominator)
    u = (rays @ torch.linalg.cross(t_v, mean).T) * inverse
    v = (rays @ torch.linalg.cross(mean, t_u).T) * inverse
    return u * u + v * v, (across * mean).sum(1) * inverse


def _thin(mean: Tensor, axes: Tensor, normal: Tensor, scale: Tensor, K: Tensor) -> Tensor:
    """Surfels [N] seen so nearly from the edge, or so small, that no pixel centre would meet them but by chance."""
    ray = mean / mean[:, 2:]
    focal = K.diagonal()[:2, None]
    screen = focal * (axes[:, :2, :2] - ray[:, :2, None] * axes[:, 2:, :2]) * scale[:, None] / mean[:, 2, None, None]
    size = screen.flatten(1).norm(dim=1)
    return (screen.det().abs() <= THINNEST * size) | ((normal * ray).sum(1).abs() <= EDGE_ON)
