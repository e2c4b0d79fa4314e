# SPDX-License-Identifier: Apache-2.0
"""Points on the head's surface that carry Gaussians: area-weighted, random but seeded, moving with the mesh.

The published code draws them unseeded, so no two of its renders agree; here a seed names a set of points.
"""

from __future__ import annotations

import torch
from torch import Tensor

POINTS = 8000
_FRONT_SHARE = 1.8  # of a far camera's points, one in 1.8 is taken to face it


def sample_surface(vertices: Tensor, faces: Tensor, count: int = POINTS, seed: int = 0) -> tuple[Tensor, Tensor]:
    """vertices [B,V,3], faces [F,3] -> (face index [B,N], barycentrics [B,N,3]), uniform over each mesh's area.

    The same seed, mesh and device give the same points. Raises ValueError for a mesh without area.
    """
    with torch.no_grad():
        corners = vertices[:, faces].float()
        sides = corners[:, :, 1:] - corners[:, :, :1]
        areas = torch.linalg.cross(sides[:, :, 0], sides[:, :, 1]).norm(dim=-1)
        if not bool((areas.sum(1) > 0).all()) or not bool(torch.isfinite(areas).all()):
            raise ValueError("The mesh has no area for Gaussians; its vertices are not finite or all in one place.")
        generator = torch.Generator(vertices.device).manual_seed(seed)
        chosen = torch.multinomial(areas, count, replacement=True, generator=generator)
        u, v = torch.rand(2, *chosen.shape, generator=generator, device=vertices.device, dtype=torch.float32)
        root = u.sqrt()  # uniform over a triangle: Osada et al. 2002, section 4.2
        return chosen, torch.stack([1 - root, root * (1 - v), root * v], -1).to(vertices)


def surface_points(vertices: Tensor, faces: Tensor, chosen: Tensor, barycentrics: Tensor) -> Tensor:
    """The points [B,N,3] that ``sample_surface`` chose, on these vertices; differentiable in them."""
    corners = faces[chosen]  # [B,N,3]
    batch = torch.arange(len(vertices), device=vertices.device)[:, None, None]
    return (vertices[batch, corners] * barycentrics[..., None]).sum(2)


def front_points(points: Tensor) -> Tensor:
    """Indices [B,M] of the points [B,N,3] with the largest z, M = int(N / 1.8): what a far camera in front may see."""
    return points[..., 2].topk(int(points.shape[1] / _FRONT_SHARE), dim=1).indices
