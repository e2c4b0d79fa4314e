# SPDX-License-Identifier: Apache-2.0
"""How much of a splatted picture is seen when a triangle mesh stands in the scene.

A pixel's splats count as one surface at their blended distance: true where they are opaque, a mean where hair or a soft
rim is seen through. The mesh is looked at SAMPLES x SAMPLES times a pixel, so its edges are smooth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.splatting.mesh import rasterize_mesh
from blendsplat.splatting.scene import DEFAULT_NEAR_PLANE

SAMPLES = 2  # a pixel's side


@torch.no_grad()
def visible_share(
    alpha: Tensor,
    depth: Tensor,
    vertices: Tensor,
    faces: Tensor,
    viewmat: Tensor,
    K: Tensor,
    near_plane: float = DEFAULT_NEAR_PLANE,
) -> Tensor:
    """The share of each pixel [H,W,1] in which the mesh is not before the splats.

    alpha, depth [H,W,1]: what rasterize_gaussians gives for one image (depth premultiplied); vertices [V,3] world
    units; faces [F,3] int; viewmat [4,4], K [3,3] of the same camera. All on one device. Raises ValueError like
    rasterize_mesh.
    """
    height, width = alpha.shape[:2]
    vertices, faces = in_front(vertices, faces, viewmat, near_plane)
    if not len(faces):
        return torch.ones_like(alpha)
    finer = torch.diag(K.new_tensor([SAMPLES, SAMPLES, 1.0])) @ K
    drawn = rasterize_mesh(
        vertices[None], faces, viewmat[None], finer[None], width * SAMPLES, height * SAMPLES, near_plane
    )
    ids, mesh = drawn[0][0], drawn[2][0]
    splats = (depth / alpha.clamp(min=1e-6))[..., 0]
    splats = splats.repeat_interleave(SAMPLES, 0).repeat_interleave(SAMPLES, 1)
    hidden = ((ids >= 0) & (mesh < splats)).to(alpha.dtype)
    return 1 - torch.nn.functional.avg_pool2d(hidden[None, None], SAMPLES)[0, 0, ..., None]


def in_front(vertices: Tensor, faces: Tensor, viewmat: Tensor, near_plane: float) -> tuple[Tensor, Tensor]:
    """The part of a mesh beyond the near plane, its cut faces cut again into triangles -> vertices [W,3], faces [G,3].
    (rasterize_mesh drops a face with a corner behind the plane: a floor under the camera would vanish.)"""
    depth = vertices @ viewmat[2, :3] + viewmat[2, 3] - near_plane * 1.001
    ahead = (depth > 0)[faces.long()]
    count = ahead.sum(1)
    whole, one, two = (faces[count == number] for number in (3, 1, 2))
    # Turned so that the corner that is alone on its side comes first.
    one = _turned(one, ahead[count == 1].int().argmax(1))
    two = _turned(two, (~ahead[count == 2]).int().argmax(1))
    new, base = [], len(vertices)
    for group in (one, two):
        for other in (1, 2):
            a, b = group[:, 0].long(), group[:, other].long()
            share = (depth[a] / (depth[a] - depth[b]))[:, None]
            new.append(vertices[a] + share * (vertices[b] - vertices[a]))
    row = torch.arange(len(one), device=faces.device, dtype=faces.dtype)
    first = base + row
    cut_one = torch.stack([one[:, 0], first, first + len(one)], 1)
    row = torch.arange(len(two), device=faces.device, dtype=faces.dtype)
    left = base + 2 * len(one) + row
    right = left + len(two)
    cut_two = torch.cat([torch.stack([left, two[:, 1], two[:, 2]], 1), torch.stack([left, two[:, 2], right], 1)])
    return torch.cat([vertices, *new]), torch.cat([whole, cut_one, cut_two])


def _turned(faces: Tensor, first: Tensor) -> Tensor:
    """Faces [F,3] with the corner ``first`` [F] at the front, their sense kept."""
    places = (first[:, None] + torch.arange(3, device=faces.device)) % 3
    return torch.gather(faces, 1, places)
