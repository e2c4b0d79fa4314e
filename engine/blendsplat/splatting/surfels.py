# SPDX-License-Identifier: Apache-2.0
"""Differentiable rasterizer of surfels, flat Gaussian discs that lie on surfaces: colour, coverage, depth and normals.

What blendsplat.splatting.gaussians is to 3D Gaussian splatting, this is to 2D.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.splatting.autograd import rasterize
from blendsplat.splatting.backend import cpu_backend, cuda_backend
from blendsplat.splatting.checks import checked_scene
from blendsplat.splatting.protocols import Rasterizer
from blendsplat.splatting.scene import DEFAULT_NEAR_PLANE, Cameras, Gaussians, Scene
from blendsplat.splatting.surfels_cpu import CpuSurfels
from blendsplat.splatting.surfels_cuda import CudaSurfels


def rasterize_surfels(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    backgrounds: Tensor | None = None,
    near_plane: float = DEFAULT_NEAR_PLANE,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Render B sets of N surfels with B cameras (2D Gaussian splatting, Huang et al. 2024, section 4).

    means [B,N,3] world units; quats [B,N,4] wxyz, any length in 1e-15..1e15, whose first two axes span the disc; scales
    [B,N,2] deviations along them; opacities, colors, viewmats, Ks, backgrounds, near_plane, width and height as in
    rasterize_gaussians. All float32, on one device.

    Returns image [B,H,W,3] (premultiplied by alpha, the background composited last), alpha [B,H,W,1], depth [B,H,W,1]
    (sum of weight times the camera z at which the pixel's ray meets the disc: divide by alpha for the expected depth)
    and normals [B,H,W,3] (sum of weight times unit normal, in camera axes, turned towards the camera: a wall that faces
    it has z = -1; ``normals @ viewmats[b, :3, :3]`` turns those of image b to the world).

    A pixel's falloff is the nearer of the disc's own and a low-pass of sqrt(2)/2 pixels about the projected mean
    (equation 11). Where the low-pass wins, the depth is the mean's. Discs seen thinner than 1e-3 pixels are drawn by it
    alone.

    Gradients flow to everything but the cameras, those of depth and normals too. Surfels that are not finite, have a
    zero quaternion, lie before the near plane or outside the image are skipped and get gradient zero. Raises ValueError
    naming the wrong argument.
    """
    surfels = Gaussians(means, quats, scales, opacities, colors)
    cameras = Cameras(viewmats, Ks, width, height, near_plane)
    scene = checked_scene(Scene(surfels, cameras, backgrounds), axes=2)
    image, alpha, depth, normals = rasterize(scene, surfel_backend(scene.device))
    return image, alpha, depth, normals


def surfel_backend(device: torch.device) -> Rasterizer:
    """The surfels of a tensor's device. Raises ValueError for devices other than cpu and cuda."""
    if device.type == "cpu":
        return CpuSurfels(cpu_backend())
    if device.type == "cuda":
        return CudaSurfels(cuda_backend())
    raise ValueError(f"device: expected cpu or cuda tensors, got {device}")
