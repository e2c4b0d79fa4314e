# SPDX-License-Identifier: Apache-2.0
"""What training compares with pictures: a regressed head drawn as surfels on its surface, and as a mesh.

Every person is drawn from V views; M = B V pictures come back, person by person.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from blendsplat.kaolrm.model import KaoLRM
from blendsplat.kaolrm.training.losses import FARTHEST, VISIBLE
from blendsplat.kaolrm.training.surface_samples import front_points, sample_surface, surface_points
from blendsplat.splatting import rasterize_mesh, rasterize_surfels
from blendsplat.splatting.mesh_reference import interpolate_normals, surface_of


class SurfelImage(NamedTuple):
    """Surfels as M views show them."""

    image: Tensor  # [M,H,W,3] over the background
    alpha: Tensor  # [M,H,W,1]
    depth: Tensor  # [M,H,W,1] expected camera z, clamped to 0 .. FARTHEST; 0 where alpha is below VISIBLE
    normals: Tensor  # [M,H,W,3] mean normal, camera axes, not unit where discs disagree; 0 where alpha is below VISIBLE


class MeshView(NamedTuple):
    """The mesh as M views show it; depth and normals mean what the surfels' do."""

    depth: Tensor  # [M,H,W,1] camera z, 0 where nothing
    normals: Tensor  # [M,H,W,3] unit, camera axes, 0 where nothing
    face_ids: Tensor  # [M,H,W] -1 where nothing


def draw_surfels(
    model: KaoLRM, planes: Tensor, vertices: Tensor, faces: Tensor, viewmats: Tensor, Ks: Tensor, size: int,
    backgrounds: Tensor, points: int, seed: int,
) -> SurfelImage:  # fmt: skip
    """planes [B,3,D,R,R], vertices [B,V,3], viewmats [B,C,4,4], Ks [B,C,3,3], backgrounds [B,3] -> B C pictures.

    ``points`` seeded points of each surface carry a Gaussian; of a far camera's (focal above 1), those in front.
    """
    chosen, barycentrics = sample_surface(vertices.detach(), faces, points, seed)
    means = surface_points(vertices, faces, chosen, barycentrics)
    if model.config.focal > 1:
        means = means.gather(1, front_points(means)[..., None].expand(-1, -1, 3))
    gaussians = model.gaussians(planes, means)
    views = viewmats.shape[1]

    def each(values: Tensor) -> Tensor:
        return values.float().repeat_interleave(views, 0).contiguous()

    image, alpha, depth, normals = rasterize_surfels(
        each(means), each(gaussians.quats), each(gaussians.scales[..., :2]), each(gaussians.opacities[..., 0]),
        each(gaussians.colors), viewmats.flatten(0, 1), Ks.flatten(0, 1), size, size, each(backgrounds),
    )  # fmt: skip
    visible = alpha.detach() > VISIBLE
    share = torch.where(visible, alpha, 1)
    depth = torch.where(visible, (depth / share).clamp(0, FARTHEST), 0)
    return SurfelImage(image, alpha, depth, torch.where(visible, normals / share, 0))


def draw_mesh(vertices: Tensor, faces: Tensor, viewmats: Tensor, Ks: Tensor, size: int) -> MeshView:
    """vertices [B,V,3], viewmats [B,C,4,4], Ks [B,C,3,3] -> B C pictures; gradients reach the vertices."""
    every = vertices.float().repeat_interleave(viewmats.shape[1], 0)
    cameras = viewmats.flatten(0, 1), Ks.flatten(0, 1)
    face_ids, _, _ = rasterize_mesh(every.detach(), faces, *cameras, size, size)
    surface = surface_of(face_ids, every, faces, *cameras)
    return MeshView(surface.depth, interpolate_normals(surface, every, faces, *cameras), face_ids)
