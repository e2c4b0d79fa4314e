# SPDX-License-Identifier: Apache-2.0
"""What the peers share: projection in PyTorch, differentiable, and each tile's Gaussians front to back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from blendsplat.splatting.reference import project_reference
from blendsplat.splatting.scene import Scene

TILE = 16

# The parameters of one image -> the image [H,W,3], differentiable.
Renderer = Callable[[list[Tensor]], Tensor]


class Projected(NamedTuple):
    """Gaussians on the screen of one image."""

    centres: Tensor  # [N,2] pixels
    conics: Tensor  # [N,3]: a, b, c of the inverse covariance
    opacities: Tensor  # [N]
    colors: Tensor  # [N,3]


class Lists(NamedTuple):
    """entries[offsets[t] : offsets[t + 1]]: tile t's Gaussians, tiles row by row."""

    offsets: Tensor  # [tiles + 1]
    entries: Tensor


def project(parameters: list[Tensor], scene: Scene) -> tuple[Projected, Lists]:
    """The first image's Gaussians and their tiles by the square of three sigma."""
    means, quats, scales, opacities, colors = parameters
    centres, covariances, z = project_reference(
        means, quats, scales, scene.cameras.viewmats[0], scene.cameras.Ks[0], scene.width, scene.height
    )
    xx, xy, yy = covariances[:, 0, 0], covariances[:, 0, 1], covariances[:, 1, 1]
    determinant = xx * yy - xy * xy
    conics = torch.stack([yy, -xy, xx], 1) / determinant[:, None]
    with torch.no_grad():
        middle = (xx + yy) / 2
        half = (3 * (middle + (middle**2 - determinant).clamp_min(0.1).sqrt()).sqrt()).ceil()
        lists = _lists(centres.detach(), half, z.detach(), scene)
    return Projected(centres, conics, opacities, colors), lists


def _lists(centres: Tensor, half: Tensor, z: Tensor, scene: Scene) -> Lists:
    grid = torch.tensor([-(-scene.width // TILE), -(-scene.height // TILE)])
    low = ((centres - half[:, None]) / TILE).floor().long().clamp_min(0).minimum(grid)
    high = ((centres + half[:, None]) / TILE).ceil().long().clamp_min(0).minimum(grid)
    order = z.argsort(stable=True)
    spans = (high - low)[order]
    counts = spans.prod(1)
    owner = order.repeat_interleave(counts)
    place = torch.arange(len(owner)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    columns = spans[:, 0].repeat_interleave(counts)
    tile = (low[owner, 1] + place // columns) * grid[0] + low[owner, 0] + place % columns
    tile, by_tile = tile.sort(stable=True)
    offsets = torch.searchsorted(tile, torch.arange(int(grid.prod()) + 1))
    return Lists(offsets, owner[by_tile])
