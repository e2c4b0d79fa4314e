# SPDX-License-Identifier: Apache-2.0
"""Tangent frames of a posed surface's triangles in one pass, into given buffers.

heads/tangent_frames.py says what they are and keeps the plain torch version, which has gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.splatting.buffers import address
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
    if device.type == "cpu" and len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < count:
        raise ValueError(f"faces: expected indices of {count} vertices, got {int(faces.min())} to {int(faces.max())}")
    launch = launch_on(device)
    launch.kernels.tangent_frames(
        images, count, len(faces), address(vertices), address(faces), address(uv_edges), address(frames),
        address(quats), *launch.queue,
    )  # fmt: skip
