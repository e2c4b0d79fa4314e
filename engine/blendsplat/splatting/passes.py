# SPDX-License-Identifier: Apache-2.0
"""A rasterizer of one size with buffers of its own and no autograd, over any backend: what a training step calls.

See blendsplat.splatting.protocols.RasterPass for what it promises.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.splatting.buffers import Bins, Buffers
from blendsplat.splatting.checks import checked, checked_scene, checked_size
from blendsplat.splatting.protocols import Backend
from blendsplat.splatting.scene import Gradients, Scene


class BufferedPass:
    """Hands a backend the same buffers at every call; a backend whose buffers can be too small overrides ``_bin``."""

    spare = 0.25  # how much more than asked for a buffer gets: what a step needs differs a little from step to step

    def __init__(
        self, backend: Backend, images: int, gaussians: int, width: int, height: int, device: torch.device
    ) -> None:
        checked_size(width, height)
        self._backend, self._device, self._buffers = backend, device, Buffers(device, self.spare)
        self._shape, self._size = (images, gaussians), (width, height)
        self._drawn: tuple[Scene, Bins] | None = None
        take = self._buffers.take
        self.image = take("image", (images, height, width, 3), torch.float32)
        self.alpha = take("alpha", (images, height, width, 1), torch.float32)
        self.depth = take("depth", (images, height, width, 1), torch.float32)
        self.grads: Gradients | None = None
        self.lost: Tensor | None = None

    @torch.no_grad()
    def forward(self, scene: Scene) -> None:
        scene = self._checked(scene)
        bins = self._bin(scene)
        self._backend.blend_forward(scene, bins, self._buffers, keep_for_backward=True)
        self._drawn = (scene, bins)

    @torch.no_grad()
    def pictures(self, scene: Scene, faintest: float) -> tuple[Tensor, Tensor]:
        scene = self._checked(scene)
        return self._backend.pictures(scene, self._bin(scene), self._buffers, faintest)

    def _checked(self, scene: Scene) -> Scene:
        self._drawn = None  # the buffers are about to change; a call that fails leaves nothing to go back through
        width, height = self._size
        if (scene.width, scene.height) != (width, height):
            raise ValueError(
                f"cameras: expected images of {width}x{height} pixels, for which the pass was made, got "
                f"{scene.width}x{scene.height}"
            )
        checked("means", scene.gaussians.means, (*self._shape, 3), self._device)
        return checked_scene(scene, sharing=True)

    @torch.no_grad()
    def pixel_weights(self, scene: Scene, images: Tensor, mask: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
        scene = self._checked(scene)
        plane = (scene.images, scene.height, scene.width)
        images = checked("images", images, (*plane, 3), self._device)
        mask = checked("mask", mask, plane, self._device, torch.bool)
        sums = self._backend.pixel_weights(scene, self._bin(scene), images, mask, threshold)
        if self.lost is not None:
            sums = torch.where(self.lost == 0, sums, 0.0)
        return sums[:, 0], sums[:, 1:]

    def _bin(self, scene: Scene) -> Bins:
        return self._backend.bin(scene, self._buffers)

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
        scene, bins = self._drawn
        self.grads, _ = self._backend.backward(scene, bins, grads, self._buffers, need_background=False)

    def overflowed(self) -> bool:
        return False  # buffers grow before they are written
