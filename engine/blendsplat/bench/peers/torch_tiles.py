# SPDX-License-Identifier: Apache-2.0
"""Plain PyTorch: a loop over tiles, all of a tile's pixels against all its Gaussians as one matrix, autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.bench.peers.lists import TILE, Projected, Renderer, project
from blendsplat.splatting.reference import ALPHA_MAX, ALPHA_MIN, STOP
from blendsplat.splatting.scene import Scene

NAME = "plain PyTorch, tile loop"


def make(scene: Scene) -> Renderer:
    """A renderer of the scene's first image."""

    def render(parameters: list[Tensor]) -> Tensor:
        splats, lists = project(parameters, scene)
        bounds = lists.offsets.tolist()
        rows = []
        columns = -(-scene.width // TILE)
        for top in range(0, scene.height, TILE):
            tiles = []
            for left in range(0, scene.width, TILE):
                tile = top // TILE * columns + left // TILE
                chosen = lists.entries[bounds[tile] : bounds[tile + 1]]
                size = (min(TILE, scene.height - top), min(TILE, scene.width - left))
                tiles.append(_tile(splats, chosen, left, top, size))
            rows.append(torch.cat(tiles, 1))
        return torch.cat(rows)

    return render


def _tile(splats: Projected, chosen: Tensor, left: int, top: int, size: tuple[int, int]) -> Tensor:
    """One tile's image [h,w,3]."""
    if not len(chosen):
        return splats.colors.new_zeros(*size, 3)
    y, x = torch.meshgrid(torch.arange(size[0]) + top + 0.5, torch.arange(size[1]) + left + 0.5, indexing="ij")
    centres, conics = splats.centres[chosen], splats.conics[chosen]
    dx, dy = x.reshape(-1, 1) - centres[:, 0], y.reshape(-1, 1) - centres[:, 1]
    power = -0.5 * (conics[:, 0] * dx * dx + conics[:, 2] * dy * dy) - conics[:, 1] * dx * dy
    alpha = (splats.opacities[chosen] * power.exp()).clamp_max(ALPHA_MAX)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0.0)
    after = (1 - alpha).cumprod(1)
    weight = torch.where(after >= STOP, alpha * torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], 1), 0.0)
    return (weight @ splats.colors[chosen]).reshape(*size, 3)
