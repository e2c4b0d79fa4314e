# SPDX-License-Identifier: Apache-2.0
"""Tangent frames of a posed surface's triangles in one pass, into given buffers, and back to the vertices.

heads/tangent_frames.py says what they are, ties both into autograd and keeps the plain torch version, the oracle.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.splatting.buffers import address
from blendsplat.splatting.grouping import groups_of
from blendsplat.splatting.launch import check_buffer, launch_on


def fused_tangent_frames(vertices: Tensor, faces: Tensor, uv_edges: Tensor, frames: Tensor, quats: Tensor) -> None:
    """Vertices [B,V,3], faces [F,3] int64, uv_edges [F,4] (of heads.tangent_frames) -> frames [B,F,3,3], quats [B,F,4].

    Raises ValueError for a tensor of another shape, dtype, device or layout; on the CPU also for a face that names no
    vertex.
    """
    device, (images, count) = vertices.device, vertices.shape[:2]
    check_buffer("vertices", vertices, (images, count, 3), device)
    check_buffer("faces", faces, (len(faces), 3), device, torch.int64)
    check_buffer("uv_edges", uv_edges, (len(faces), 4), device)
    check_buffer("frames", frames, (images, len(faces), 3, 3), device)
    check_buffer("quats", quats, (images, len(faces), 4), device)
    _check_faces(faces, count)
    launch = launch_on(device)
    launch.kernels.tangent_frames(
        images, count, len(faces), address(vertices), address(faces), address(uv_edges), address(frames),
        address(quats), *launch.queue,
    )  # fmt: skip


def fused_tangent_frames_backward(
    vertices: Tensor, faces: Tensor, uv_edges: Tensor, grad_frames: Tensor | None, grad_quats: Tensor | None
) -> Tensor:
    """The gradient [B,V,3] of vertices from those of frames [B,F,3,3] and quats [B,F,4]; None counts as zero.

    The same bits for any number of threads. Raises ValueError as fused_tangent_frames does.
    """
    device, (images, count) = vertices.device, vertices.shape[:2]
    check_buffer("vertices", vertices, (images, count, 3), device)
    check_buffer("faces", faces, (len(faces), 3), device, torch.int64)
    check_buffer("uv_edges", uv_edges, (len(faces), 4), device)
    for name, grad, shape in (("grad_frames", grad_frames, (3, 3)), ("grad_quats", grad_quats, (4,))):
        if grad is not None:
            check_buffer(name, grad, (images, len(faces), *shape), device)
    _check_faces(faces, count)
    launch, groups = launch_on(device), groups_of(faces, count)
    scratch, out = vertices.new_empty(images, len(faces), 3, 3), torch.empty_like(vertices)
    grads = [address(t) for t in (grad_frames, grad_quats, *groups, scratch, out)]
    launch.kernels.tangent_frames_backward(
        images, count, len(faces), address(vertices), address(faces), address(uv_edges), grads, *launch.queue
    )
    return out


def _check_faces(faces: Tensor, count: int) -> None:
    if faces.device.type == "cpu" and len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < count:
        raise ValueError(f"faces: expected indices of {count} vertices, got {int(faces.min())} to {int(faces.max())}")
