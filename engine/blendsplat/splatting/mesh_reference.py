# SPDX-License-Identifier: Apache-2.0
"""Differentiable mesh pictures in plain torch, on any device and in any precision: what the fused kernels are held to.

The kernels of rasterize_mesh decide which face a pixel shows, which has no derivative. What it shows there is written
in terms of the vertices; blendsplat.splatting.silhouettes does the borders.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from blendsplat.geometry import vertex_normals
from blendsplat.splatting.silhouettes import Neighbours, antialias, project_vertices


class Surface(NamedTuple):
    """What every pixel shows of a mesh."""

    face_ids: Tensor  # [B,H,W] int32, -1: nothing
    barycentrics: Tensor  # [B,H,W,3] perspective-correct weights of the face's corners, 0 where nothing
    depth: Tensor  # [B,H,W,1] camera z, 0 where nothing


def mesh_planes(
    face_ids: Tensor, drawn_depth: Tensor, vertices: Tensor, faces: Tensor, attributes: Tensor, viewmats: Tensor,
    Ks: Tensor, neighbours: Neighbours | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """image [B,H,W,C], alpha, depth [B,H,W,1] and normals [B,H,W,3] of mesh_layers.MeshImage.

    face_ids, drawn_depth [B,H,W] of rasterize_mesh: the depth says which of two pixels is nearer, where borders pass.
    """
    surface = surface_of(face_ids, vertices, faces, viewmats, Ks)
    covered = (face_ids >= 0).to(vertices.dtype)[..., None]
    planes = torch.cat([interpolate(surface, faces, attributes), covered], -1)
    planes = antialias(planes, face_ids, drawn_depth[..., None], vertices, faces, viewmats, Ks, neighbours)
    return (
        planes[..., :-1],
        planes[..., -1:],
        surface.depth,
        interpolate_normals(surface, vertices, faces, viewmats, Ks),
    )


def surface_of(face_ids: Tensor, vertices: Tensor, faces: Tensor, viewmats: Tensor, Ks: Tensor) -> Surface:
    """face_ids [B,H,W] of rasterize_mesh -> barycentrics and depth as functions of the vertices [B,V,3].

    With w_i the area that the pixel's centre and the two corners other than i span on the screen, the barycentrics are
    w_i / z_i over their sum, and the depth is the sum of w over the sum of w / z.
    """
    height, width = face_ids.shape[1:]
    screen, inverse_z = project_vertices(vertices, viewmats, Ks)
    where = torch.nonzero(face_ids.reshape(-1) >= 0)[:, 0]
    corners = _corner_rows(face_ids, where, faces, vertices.shape[1])
    pixel = torch.stack([where % width, where // width % height], -1).to(vertices.dtype) + 0.5
    relative = screen.reshape(-1, 2)[corners] - pixel[:, None]
    a, b, c = relative.unbind(1)
    areas = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], -1)
    shares = areas * inverse_z.reshape(-1)[corners]
    total = shares.sum(-1, keepdim=True)
    barycentrics = _scatter(where, shares / total, face_ids)
    return Surface(face_ids, barycentrics, _scatter(where, areas.sum(-1, keepdim=True) / total, face_ids))


def interpolate(surface: Surface, faces: Tensor, attributes: Tensor) -> Tensor:
    """Vertex attributes [B,V,C] or [V,C] -> [B,H,W,C]; 0 where the mesh is not."""
    where = torch.nonzero(surface.face_ids.reshape(-1) >= 0)[:, 0]
    return _scatter(where, _interpolated(surface, where, faces, attributes), surface.face_ids)


def interpolate_normals(surface: Surface, vertices: Tensor, faces: Tensor, viewmats: Tensor, Ks: Tensor) -> Tensor:
    """Unit normals [B,H,W,3] in camera axes, turned towards the camera; 0 where the mesh is not."""
    in_camera = vertex_normals(vertices, faces) @ viewmats[:, :3, :3].to(vertices.dtype).mT
    height, width = surface.face_ids.shape[1:]
    where = torch.nonzero(surface.face_ids.reshape(-1) >= 0)[:, 0]
    normals = torch.nn.functional.normalize(_interpolated(surface, where, faces, in_camera), dim=-1, eps=1e-20)
    pixel = torch.stack([where % width, where // width % height], -1).to(vertices.dtype) + 0.5
    focal, centre = Ks.diagonal(dim1=1, dim2=2)[:, :2].to(vertices.dtype), Ks[:, :2, 2].to(vertices.dtype)
    image = where // (height * width)
    ray = (pixel - centre[image]) / focal[image]
    away = (normals[..., :2] * ray).sum(-1, keepdim=True) + normals[..., 2:] > 0
    return _scatter(where, torch.where(away, -normals, normals), surface.face_ids)


def _interpolated(surface: Surface, where: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """Vertex attributes at the pixels ``where`` [P,C]."""
    stride = attributes.shape[-2] if attributes.dim() == 3 else 0
    corners = _corner_rows(surface.face_ids, where, faces, stride)
    weights = surface.barycentrics.reshape(-1, 3)[where]
    return (attributes.flatten(0, -2)[corners] * weights[..., None]).sum(1)


def _corner_rows(face_ids: Tensor, where: Tensor, faces: Tensor, stride: int) -> Tensor:
    """Rows [P,3] of the corners of pixels ``where`` in an array of ``stride`` rows per image."""
    chosen = faces[face_ids.reshape(-1)[where].long()]
    return chosen + (where // (face_ids.shape[1] * face_ids.shape[2]) * stride)[:, None]


def _scatter(where: Tensor, values: Tensor, face_ids: Tensor) -> Tensor:
    plane = values.new_zeros(face_ids.numel(), values.shape[1]).index_copy(0, where, values)
    return plane.reshape(*face_ids.shape, values.shape[1])


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
