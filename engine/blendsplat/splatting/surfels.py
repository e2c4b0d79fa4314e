# SPDX-License-Identifier: Apache-2.0
"""Differentiable rasterizer of surfels, flat Gaussian discs that lie on surfaces: colour, coverage, depth and normals.

What blendsplat.splatting.gaussians is to 3D Gaussian splatting, this is to 2D: checks, the backend, autograd.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from blendsplat.splatting.backend import cpu_backend, cuda_backend
from blendsplat.splatting.buffers import DEFAULT_NEAR_PLANE, Bins, Gradients, Scene
from blendsplat.splatting.checks import checked, checked_scene
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
    scene = checked_scene(means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane, axes=2)
    if backgrounds is not None:
        backgrounds = checked("backgrounds", backgrounds, (scene.images, 3), scene.means.device)
    arguments = scene.means, scene.quats, scene.scales, scene.opacities, scene.colors
    result: tuple[Tensor, Tensor, Tensor, Tensor] = _Rasterize.apply(*arguments, backgrounds, scene)
    return result


class SurfelBackend(Protocol):
    """What a device offers for surfels; Bins.records are surfel records."""

    def bin(self, scene: Scene) -> Bins: ...

    def blend_forward(self, scene: Scene, bins: Bins, backgrounds: Tensor | None) -> tuple[Tensor, ...]: ...

    def backward(
        self,
        scene: Scene,
        bins: Bins,
        backgrounds: Tensor | None,
        grads: tuple[Tensor | None, ...],
        need_background: bool,
    ) -> tuple[Gradients, Tensor | None]: ...


def surfel_backend(device: torch.device) -> SurfelBackend:
    if device.type == "cpu":
        return CpuSurfels(cpu_backend())
    if device.type == "cuda":
        return CudaSurfels(cuda_backend())
    raise ValueError(f"device: expected cpu or cuda tensors, got {device}")


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
        backgrounds: Tensor | None, scene: Scene,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        backend = surfel_backend(means.device)
        bins = backend.bin(scene)
        outputs = backend.blend_forward(scene, bins, backgrounds)
        ctx.save_for_backward(means, quats, scales, opacities, colors, backgrounds, *bins.tensors())
        ctx.camera = (scene.viewmats, scene.Ks, scene.width, scene.height, scene.near_plane)
        ctx.longest = bins.longest
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(grad is None for grad in grads):
            return (None,) * 7
        bins = Bins.from_tensors(*ctx.saved_tensors[6:], longest=ctx.longest)
        scene = Scene(*ctx.saved_tensors[:5], *ctx.camera)
        contiguous = tuple(None if grad is None else grad.contiguous() for grad in grads)
        backend = surfel_backend(scene.means.device)
        out, background = backend.backward(scene, bins, ctx.saved_tensors[5], contiguous, ctx.needs_input_grad[5])
        return *out, background, None
