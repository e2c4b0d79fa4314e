# SPDX-License-Identifier: Apache-2.0
"""Mesh pictures by the fused kernels, forward and with gradients: mesh_reference.py says what they compute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from blendsplat.splatting.backend import cpu_backend
from blendsplat.splatting.buffers import Workspace, address
from blendsplat.splatting.checks import checked, checked_cameras
from blendsplat.splatting.launch import launch_on
from blendsplat.splatting.silhouettes import Neighbours


class _Kept(NamedTuple):
    """All that the backward pass reads, in the order of the kernels' view; names as in blendsplat/mesh_picture.h."""

    positions: Tensor  # [B,V,3]
    indices: Tensor  # [F,3] int32
    viewmats: Tensor
    Ks: Tensor
    attributes: Tensor  # [B,V,C] or [V,C]
    neighbour_faces: Tensor  # [F,3] int64
    neighbour_vertices: Tensor
    first_corners: Tensor  # [V+1] int32
    corners: Tensor  # [3F] int32
    face_ids: Tensor  # [B,H,W] int32
    barycentrics: Tensor  # [B,H,W,3]
    depth: Tensor  # [B,H,W]
    screen: Tensor  # [B,V,3] float64
    normal_sums: Tensor  # [B,V,3] float64
    normals: Tensor  # [B,V,3]
    mixes: Tensor  # [B,H,W,2]

    def view(self, kernels: Any) -> Any:
        (images, vertices, _), (_, height, width) = self.positions.shape, self.face_ids.shape
        return kernels.MeshPicture(
            images, vertices, len(self.indices), width, height, self.attributes.shape[-1], self.attributes.dim() == 2,
            *(address(tensor) for tensor in self),
        )  # fmt: skip


@dataclass(frozen=True)
class _Scene:
    """What is drawn, but for the vertices and attributes that autograd hands over."""

    faces: Tensor  # [F,3] int32
    viewmats: Tensor
    Ks: Tensor
    neighbours: Neighbours
    drawn: tuple[Tensor, Tensor, Tensor]  # of rasterize_mesh


def fused_mesh_planes(
    drawn: tuple[Tensor, Tensor, Tensor], vertices: Tensor, faces: Tensor, attributes: Tensor, viewmats: Tensor,
    Ks: Tensor, neighbours: Neighbours,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """mesh_reference.mesh_planes, from what rasterize_mesh drew of vertices [B,V,3] and faces [F,3] int64.

    Gradients reach vertices and attributes. Raises ValueError naming the argument that is wrong.
    """
    device, (images, count) = vertices.device, vertices.shape[:2]
    viewmats, Ks = checked_cameras(viewmats.detach(), Ks.detach(), images, device)
    indices = faces.to(torch.int32).contiguous()
    scene = _Scene(indices, viewmats, Ks, _checked_neighbours(neighbours, len(faces), count, device), drawn)
    image, alpha, depth, normals = _MeshPlanes.apply(vertices.contiguous(), attributes.contiguous(), scene)
    return image, alpha, depth, normals


def _checked_neighbours(neighbours: Neighbours, faces: int, vertices: int, device: torch.device) -> Neighbours:
    found = Neighbours(
        checked("neighbours.faces", neighbours.faces, (faces, 3), device, torch.int64),
        checked("neighbours.vertices", neighbours.vertices, (faces, 3), device, torch.int64),
    )
    if device.type == "cpu" and faces:  # on a GPU looking would stall the queue
        for name, value, end in (("faces", found.faces, faces), ("vertices", found.vertices, vertices)):
            low, high = (int(bound) for bound in value.aminmax())
            if low < -1 or high >= end:
                raise ValueError(f"neighbours.{name}: expected numbers from -1 to {end - 1}, got {low} to {high}")
    return found


def vertex_corners(faces: Tensor, vertices: int) -> tuple[Tensor, Tensor]:
    """faces [F,3] int32 -> first [V+1], corners [3F] int32: corners[first[v] : first[v + 1]] are the places of vertex v
    in the flattened faces, in order."""
    if faces.device.type == "cpu":
        first, corners = torch.empty(vertices + 1, dtype=torch.int32), torch.empty(faces.numel(), dtype=torch.int32)
        kernels = cpu_backend().kernels
        kernels.vertex_corners(address(faces), len(faces), vertices, address(first), address(corners))
        return first, corners
    return sorted_corners(faces, vertices)


def sorted_corners(faces: Tensor, vertices: int) -> tuple[Tensor, Tensor]:
    """vertex_corners on any device, by sorting."""
    ordered, corners = torch.sort(faces.reshape(-1), stable=True)
    ends = torch.arange(vertices + 1, dtype=torch.int32, device=faces.device)
    return torch.searchsorted(ordered, ends, out_int32=True), corners.to(torch.int32)


@lru_cache
def _workspace(device: torch.device) -> Workspace:
    return Workspace(device)


class _MeshPlanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, attributes: Tensor, scene: _Scene) -> tuple[Tensor, ...]:
        launch = launch_on(vertices.device)
        kernels, queue = launch.kernels, launch.queue
        images, count = vertices.shape[:2]
        face_ids, barycentrics, depth = scene.drawn
        kept = _Kept(
            vertices, scene.faces, scene.viewmats, scene.Ks, attributes, *scene.neighbours,
            *vertex_corners(scene.faces, count), face_ids, barycentrics, depth,
            vertices.new_empty(images, count, 3, dtype=torch.float64),
            vertices.new_empty(images, count, 3, dtype=torch.float64),
            torch.empty_like(vertices), vertices.new_empty(*face_ids.shape, 2),
        )  # fmt: skip
        image = vertices.new_empty(*face_ids.shape, attributes.shape[-1])
        alpha, normals = vertices.new_empty(*face_ids.shape, 1), vertices.new_empty(*face_ids.shape, 3)
        view = kept.view(kernels)
        kernels.mesh_vertices(view, *queue)
        kernels.mesh_borders(view, *queue)
        kernels.mesh_surface(view, address(image), address(alpha), address(normals), *queue)
        ctx.save_for_backward(*kept)
        ctx.set_materialize_grads(False)
        return image, alpha, depth[..., None], normals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        kept = _Kept(*ctx.saved_tensors)
        need_vertices, need_attributes, _ = ctx.needs_input_grad
        launch = launch_on(kept.positions.device)
        kernels, queue = launch.kernels, launch.queue
        grads = tuple(None if grad is None else grad.contiguous() for grad in grads)
        size, take = (len(kept.positions), len(kept.indices)), _workspace(kept.positions.device).take
        seen = take("seen", size, torch.int32)
        geometry_rows = take("geometry", (*size, 3, kernels.GEOMETRY_ROW), torch.float32) if need_vertices else None
        channels = kept.attributes.shape[-1]
        attribute_rows = take("attributes", (*size, 3, channels), torch.float32) if need_attributes else None
        through_normals = need_vertices and grads[3] is not None
        grad_sums = take("sums", tuple(kept.positions.shape), torch.float64) if through_normals else None
        grad_vertices = torch.empty_like(kept.positions) if need_vertices else None
        grad_attributes = torch.empty_like(kept.attributes) if need_attributes else None
        view = kept.view(kernels)
        back = kernels.MeshBackward(
            *(address(tensor) for tensor in (*grads, seen, geometry_rows, attribute_rows, grad_sums)),
            address(grad_vertices), address(grad_attributes),
        )  # fmt: skip
        kernels.mesh_surface_backward(view, back, *queue)
        kernels.mesh_vertices_backward(view, back, *queue)
        return grad_vertices, grad_attributes, None
