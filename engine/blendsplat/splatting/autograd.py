# SPDX-License-Identifier: Apache-2.0
"""The rasterizers of 3D Gaussians and of surfels as one operation of torch's autograd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from blendsplat.splatting.buffers import Bins, FreshBuffers
from blendsplat.splatting.protocols import Rasterizer
from blendsplat.splatting.scene import Gaussians, Scene


def rasterize(scene: Scene, rasterizer: Rasterizer) -> tuple[Tensor, ...]:
    """The planes of a checked scene. Gradients flow to its Gaussians and backgrounds."""
    planes: tuple[Tensor, ...] = _Rasterize.apply(*scene.gaussians.tensors(), scene.backgrounds, scene, rasterizer)
    return planes


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor,
        backgrounds: Tensor | None, scene: Scene, rasterizer: Rasterizer,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        buffers, cameras = FreshBuffers(scene.device), scene.cameras
        bins = rasterizer.bin(scene, buffers)
        planes = rasterizer.blend_forward(scene, bins, buffers, keep_for_backward=any(ctx.needs_input_grad))
        gaussians = (means, quats, scales, opacities, colors)
        ctx.save_for_backward(*gaussians, backgrounds, cameras.viewmats, cameras.Ks, *bins.tensors())
        ctx.cameras, ctx.longest, ctx.rasterizer = cameras, bins.longest, rasterizer
        ctx.set_materialize_grads(False)
        return planes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(grad is None for grad in grads):
            return (None,) * 8
        means, quats, scales, opacities, colors, backgrounds, viewmats, Ks, *kept = ctx.saved_tensors
        cameras = replace(ctx.cameras, viewmats=viewmats, Ks=Ks)
        scene = Scene(Gaussians(means, quats, scales, opacities, colors), cameras, backgrounds)
        bins = Bins.from_tensors(*kept, longest=ctx.longest)
        contiguous = tuple(None if grad is None else grad.contiguous() for grad in grads)
        *_, need_background, _, _ = ctx.needs_input_grad
        out, background = ctx.rasterizer.backward(scene, bins, contiguous, FreshBuffers(scene.device), need_background)
        return *out, background, None, None
