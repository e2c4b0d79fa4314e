# SPDX-License-Identifier: Apache-2.0
"""Differentiable pictures of triangle meshes: attributes, coverage, depth and normals of what every pixel shows.

Fused kernels draw them where there are any; mesh_reference.py says in plain torch what they mean, and draws the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from blendsplat.splatting.mesh import rasterize_mesh
from blendsplat.splatting.mesh_fused import fused_mesh_planes
from blendsplat.splatting.mesh_reference import mesh_planes
from blendsplat.splatting.scene import DEFAULT_NEAR_PLANE
from blendsplat.splatting.silhouettes import Neighbours, find_neighbours


class MeshImage(NamedTuple):
    image: Tensor  # [B,H,W,C] attributes, premultiplied by alpha, antialiased at silhouettes
    alpha: Tensor  # [B,H,W,1] coverage, antialiased at silhouettes
    depth: Tensor  # [B,H,W,1] camera z of the pixel's centre; 0 where nothing, not antialiased
    normals: Tensor  # [B,H,W,3] unit, camera axes, turned towards the camera; 0 where nothing, not antialiased
    face_ids: Tensor  # [B,H,W] int32, -1: nothing


def render_mesh(
    vertices: Tensor,
    faces: Tensor,
    attributes: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = DEFAULT_NEAR_PLANE,
    neighbours: Neighbours | None = None,
) -> MeshImage:
    """Draw B meshes that share their faces, each with its own camera, with gradients to vertices and attributes.

    vertices [B,V,3] float32; faces [F,3] int32 or int64; attributes [B,V,C] or [V,C], interpolated over the faces (a
    colour, texture coordinates); viewmats, Ks, width, height, near_plane as in rasterize_mesh; neighbours:
    silhouettes.find_neighbours(faces), where the caller draws the same faces often and keeps it.

    Depth and normals (the vertices' area-weighted ones, interpolated) mean the same as rasterize_surfels' divided by
    its alpha, so the two can be compared pixel by pixel. They follow the vertices inside the face that a pixel shows;
    how far a face reaches, only ``image`` and ``alpha`` tell. Raises ValueError naming the argument that is wrong.
    """
    if not isinstance(attributes, Tensor) or attributes.dim() not in (2, 3):
        raise ValueError("attributes: expected a tensor of shape [B,V,C] or [V,C]")
    drawn = rasterize_mesh(vertices.detach(), faces, viewmats, Ks, width, height, near_plane)
    if attributes.shape[-2] != vertices.shape[1] or attributes.shape[:-2] not in ((), vertices.shape[:1]):
        raise ValueError(
            f"attributes: expected shape [B,V,C] or [V,C] with B, V of the vertices {list(vertices.shape[:2])}, "
            f"got {list(attributes.shape)}"
        )
    face_ids, _, depth = drawn
    faces = faces.to(vertices.device, torch.int64)
    if neighbours is None:
        neighbours = find_neighbours(faces)
    if _has_kernels(vertices, attributes, viewmats, Ks):
        return MeshImage(*fused_mesh_planes(drawn, vertices, faces, attributes, viewmats, Ks, neighbours), face_ids)
    return MeshImage(*mesh_planes(face_ids, depth, vertices, faces, attributes, viewmats, Ks, neighbours), face_ids)


def _has_kernels(vertices: Tensor, attributes: Tensor, viewmats: Tensor, Ks: Tensor) -> bool:
    """Whether the kernels do: float32 alone, and no gradients of cameras."""
    fits = attributes.dtype == vertices.dtype and attributes.device == vertices.device
    moving = torch.is_grad_enabled() and (viewmats.requires_grad or Ks.requires_grad)
    return fits and not moving
