# SPDX-License-Identifier: Apache-2.0
"""A rasterizer of one size with buffers of its own and no autograd, over any backend: what a training step calls.

See blendsplat.splatting.backend.RasterPass for what it promises.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from blendsplat.splatting.buffers import Bins, Buffers, Gradients, Scene
from blendsplat.splatting.checks import checked, checked_near_plane, checked_scene, checked_size


class BufferedPass:
    """Hands a backend the same buffers at every call; a backend whose buffers can be too small overrides ``_bin``."""

    spare = 0.25  # how much more than asked for a buffer gets: what a step needs differs a little from step to step

    def __init__(
        self,
        backend: Any,  # the operations of blendsplat.splatting.backend.Backend, with a Take as their last argument
        images: int,
        gaussians: int,
        width: int,
        height: int,
        device: torch.device,
        near_plane: float,
    ) -> None:
        checked_size(width, height)
        self._backend, self._device, self._buffers = backend, device, Buffers(device, self.spare)
        self._size = (images, gaussians, width, height, checked_near_plane(near_plane))
        self._drawn: tuple[Scene, Bins, Tensor | None] | None = None
        take = self._buffers.take
        self.image = take("image", (images, height, width, 3), torch.float32)
        self.alpha = take("alpha", (images, height, width, 1), torch.float32)
        self.depth = take("depth", (images, height, width, 1), torch.float32)
        self.grads: Gradients | None = None
        self.lost: Tensor | None = None

    @torch.no_grad()
    def forward(
        self,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        colors: Tensor,
        viewmats: Tensor,
        Ks: Tensor,
        backgrounds: Tensor | None = None,
    ) -> None:
        scene = self._checked_scene(means, quats, scales, opacities, colors, viewmats, Ks)
        if backgrounds is not None:
            backgrounds = checked("backgrounds", backgrounds, (scene.images, 3), self._device)
        bins = self._bin(scene)
        self._backend.blend_forward(scene, bins, backgrounds, self._buffers.take)
        self._drawn = (scene, bins, backgrounds)

    def _checked_scene(
        self,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        colors: Tensor,
        viewmats: Tensor,
        Ks: Tensor,
    ) -> Scene:
        images, gaussians, width, height, near_plane = self._size
        self._drawn = None  # the buffers are about to change; a call that fails leaves nothing to go back through
        means = checked("means", means, (images, gaussians, 3), self._device)
        return checked_scene(
            means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane, sharing=True
        )

    @torch.no_grad()
    def pixel_weights(
        self,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        colors: Tensor,
        viewmats: Tensor,
        Ks: Tensor,
        images: Tensor,
        mask: Tensor,
        threshold: float,
    ) -> tuple[Tensor, Tensor]:
        scene = self._checked_scene(means, quats, scales, opacities, colors, viewmats, Ks)
        plane = (scene.images, scene.height, scene.width)
        images = checked("images", images, (*plane, 3), self._device)
        mask = checked("mask", mask, plane, self._device, torch.bool)
        sums: Tensor = self._backend.pixel_weights(scene, self._bin(scene), images, mask, threshold)
        if self.lost is not None:
            sums = torch.where(self.lost == 0, sums, 0.0)
        return sums[:, 0], sums[:, 1:]

    def _bin(self, scene: Scene) -> Bins:
        bins: Bins = self._backend.bin(scene, self._buffers.take)
        return bins

    @torch.no_grad()
    def backward(
        self, grad_image: Tensor | None, grad_alpha: Tensor | None = None, grad_depth: Tensor | None = None
    ) -> None:
        if self._drawn is None:
            raise ValueError("backward: there is no forward pass to go back through; call forward first")
        planes = (
            ("image", grad_image, self.image),
            ("alpha", grad_alpha, self.alpha),
            ("depth", grad_depth, self.depth),
        )
        grads = tuple(
            None if grad is None else checked(f"grad_{name}", grad, tuple(plane.shape), plane.device)
            for name, grad, plane in planes
        )
        scene, bins, backgrounds = self._drawn
        self.grads, _ = self._backend.backward(scene, bins, backgrounds, grads, False, self._buffers.take)

    def overflowed(self) -> bool:
        return False  # buffers grow before they are written
