# SPDX-License-Identifier: Apache-2.0
"""Differentiable rasterizer of 3D Gaussians: a batch of different Gaussians, each seen by its own camera.

Checks what it is given and hands it to the backend of its device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.splatting.autograd import rasterize
from blendsplat.splatting.backend import backend_for
from blendsplat.splatting.buffers import FreshBuffers
from blendsplat.splatting.checks import checked, checked_scene
from blendsplat.splatting.scene import DEFAULT_NEAR_PLANE, Cameras, Gaussians, Scene


def rasterize_gaussians(
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Render B sets of N Gaussians with B cameras (3D Gaussian splatting, Kerbl et al. 2023, section 5).

    means [B,N,3] world units; quats [B,N,4] wxyz, any length in 1e-15..1e15; scales [B,N,3] deviations along the own
    axes; opacities [B,N] (drawn with at most 0.99); colors [B,N,3]; viewmats [B,4,4] world to camera, OpenCV axes;
    Ks [B,3,3] pixels, no skew; backgrounds [B,3] or None for black. All float32, on one device.

    Returns image [B,H,W,3] (premultiplied by alpha, the background composited last), alpha [B,H,W,1] and depth
    [B,H,W,1] (sum of weight times camera z: divide by alpha for the expected depth).

    Gradients flow to everything but the cameras. Gaussians that are not finite, have a zero quaternion, lie before the
    near plane or outside the image are skipped and get gradient zero. Raises ValueError naming the wrong argument.
    """
    gaussians = Gaussians(means, quats, scales, opacities, colors)
    cameras = Cameras(viewmats, Ks, width, height, near_plane)
    scene = checked_scene(Scene(gaussians, cameras, backgrounds))
    image, alpha, depth = rasterize(scene, backend_for(scene.device))
    return image, alpha, depth


def gaussian_pixel_weights(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    images: Tensor,
    mask: Tensor | None = None,
    threshold: float = 0.1,
    near_plane: float = DEFAULT_NEAR_PLANE,
) -> tuple[Tensor, Tensor]:
    """How much of each Gaussian the batch sees, and the images' colours there (RGBAvatar's colour initialisation).

    Arguments as in rasterize_gaussians; images [B,H,W,3] float32; mask [B,H,W] bool, True where a pixel counts (None:
    all). A pixel adds w and w rgb to a Gaussian where its weight w = alpha * T exceeds ``threshold``.
    Returns weight [N] and weighted_rgb [N,3] summed over the batch (row n of every image is the same Gaussian), without
    gradient.
    """
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise ValueError("images: expected a float32 tensor of shape [B,H,W,3]")
    height, width = images.shape[1:3]
    with torch.no_grad():
        colors = torch.zeros_like(means) if isinstance(means, Tensor) else means
        gaussians = Gaussians(means, quats, scales, opacities, colors)
        scene = checked_scene(Scene(gaussians, Cameras(viewmats, Ks, width, height, near_plane)))
        device = scene.device
        images = checked("images", images, (scene.images, height, width, 3), device)
        if mask is None:
            mask = torch.ones(scene.images, height, width, dtype=torch.bool, device=device)
        mask = checked("mask", mask, (scene.images, height, width), device, torch.bool)
        backend = backend_for(device)
        sums = backend.pixel_weights(scene, backend.bin(scene, FreshBuffers(device)), images, mask, threshold)
    return sums[:, 0], sums[:, 1:]
