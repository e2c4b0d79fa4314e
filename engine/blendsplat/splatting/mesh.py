# SPDX-License-Identifier: Apache-2.0
"""Forward rasterizer of triangle meshes: which face a pixel shows, where on it, and how far away.

It draws overlays and demo frames, and tells which vertices a camera sees; gradients are mesh_layers' job.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.splatting.backend import backend_for
from blendsplat.splatting.checks import checked, checked_cameras, checked_size
from blendsplat.splatting.scene import DEFAULT_NEAR_PLANE


@torch.no_grad()
def rasterize_mesh(
    vertices: Tensor,
    faces: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = DEFAULT_NEAR_PLANE,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw B meshes that share their faces, each with its own camera.

    vertices [B,V,3] float32 world units; faces [F,3] int32 or int64; viewmats [B,4,4], Ks [B,3,3] as in
    rasterize_gaussians. Returns face_ids [B,H,W] int32 (-1: nothing), barycentrics [B,H,W,3] (perspective-correct, of
    the face's corners in order; 0 where nothing) and depth [B,H,W] (camera z; 0 where nothing).

    Both sides of a face are drawn; the nearest wins, the lower index where two are equally near. A face with a corner
    before the near plane is dropped whole, not clipped. Everything on one device. Raises ValueError naming the
    argument that is wrong.
    """
    if not isinstance(vertices, Tensor) or vertices.dim() != 3:
        raise ValueError("vertices: expected a float32 tensor of shape [B,V,3]")
    if (
        not isinstance(faces, Tensor)
        or faces.dtype not in (torch.int32, torch.int64)
        or faces.dim() != 2
        or faces.shape[1] != 3
    ):
        raise ValueError("faces: expected an int32 or int64 tensor of shape [F,3]")
    checked_size(width, height)
    device = vertices.device
    backend = backend_for(device)
    images, count = vertices.shape[:2]
    points = checked("vertices", vertices, (images, count, 3), device)
    indices = faces.to(device, torch.int32).contiguous()
    if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < count:
        raise ValueError(
            f"faces: expected indices of {count} vertices, got {int(indices.min())} to {int(indices.max())}"
        )
    views, intrinsics = checked_cameras(viewmats.detach(), Ks.detach(), images, device)
    return backend.rasterize_mesh(points, indices, views, intrinsics, width, height, near_plane)
