# SPDX-License-Identifier: Apache-2.0
"""What the parts of splatting promise each other: rasterizers, passes, launches, and the backend of a device."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from blendsplat.splatting.buffers import Bins, BufferProvider
from blendsplat.splatting.scene import Gradients, PlaneGradients, Scene


class Rasterizer(Protocol):
    """A device's way to draw checked scenes of one kind of primitive, 3D Gaussians or surfels, and back.

    What a call leaves for the caller lies in tensors of ``buffers``; scratch is the rasterizer's own.
    """

    def bin(self, scene: Scene, buffers: BufferProvider) -> Bins:
        """Project, and sort by (image, tile, depth). A GPU waits until the number of entries is known."""

    def blend_forward(
        self, scene: Scene, bins: Bins, buffers: BufferProvider, keep_for_backward: bool
    ) -> tuple[Tensor, ...]:
        """The planes [B,H,W,*]: image, alpha, depth; of surfels normals too.

        ``backward`` may follow only where ``keep_for_backward`` is set: ``bins.kept`` then holds what it needs, if it
        needs anything.
        """

    def backward(
        self, scene: Scene, bins: Bins, grads: PlaneGradients, buffers: BufferProvider, need_background: bool
    ) -> tuple[Gradients, Tensor | None]:
        """Gradients of the Gaussians and, where asked for, of the backgrounds [B,3], from those of the planes."""


class RasterPass(Protocol):
    """A rasterizer of one size with persistent buffers and no autograd: after the first call it allocates nothing.

    It means what rasterize_gaussians does, and raises the same errors. ``image``, ``alpha``, ``depth`` and ``grads``
    are buffers that the next call writes again; ``grads`` is None before the first backward.
    """

    image: Tensor  # [B,H,W,3]
    alpha: Tensor  # [B,H,W,1]
    depth: Tensor  # [B,H,W,1]
    grads: Gradients | None
    lost: Tensor | None  # [1] int32, not zero while steps lose Gaussians; None where they never do

    def forward(self, scene: Scene) -> None:
        """Fill image, alpha and depth. scales [B,N,3] or [1,N,3], opacities [B,N] or [1,N]: one set for all images.

        The scene's tensors must stay as they are until ``backward``, which reads them again. Raises ValueError for a
        scene of another size than the pass's.
        """

    def pictures(self, scene: Scene, faintest: float) -> tuple[Tensor, Tensor]:
        """Instead of ``forward``, what a file holds, of its own memory: premultiplied RGBA [B,H,W,4], alpha 1 where the
        scene has backgrounds, and metres [B,H,W], 0 where alpha is at most ``faintest``. No backward follows it."""

    def backward(
        self, grad_image: Tensor | None, grad_alpha: Tensor | None = None, grad_depth: Tensor | None = None
    ) -> None:
        """Fill grads from the gradients of the outputs, each shaped like its output or None.

        Raises ValueError when no forward pass went before.
        """

    def pixel_weights(self, scene: Scene, images: Tensor, mask: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
        """gaussian_pixel_weights, for a scene as ``forward`` takes it; all weights are zero where some are lost."""

    def overflowed(self) -> bool:
        """True when the step before lost Gaussians because its buffers were too small, and has to be done again.

        On a GPU the answer is a step late, so that nobody waits for it; buffers have grown by then. Never on the CPU.
        """


class Launch(Protocol):
    """The fused operations of a training step on one device. Both kernel modules have the same calls, but for their
    last arguments."""

    @property
    def kernels(self) -> Any:
        """The module."""

    @property
    def device(self) -> torch.device: ...

    @property
    def queue(self) -> tuple[int, ...]:
        """The last arguments of a call: (threads,) on the CPU, (device, stream) on a GPU."""

    def image_loss_sizes(self, images: int, height: int, width: int) -> tuple[int, int]:
        """How many float64 sums and float32 rows of scratch image_loss needs."""


class Backend(Rasterizer, Protocol):
    """The operations that a device offers, and how its tensors reach its kernels; as a rasterizer, 3D Gaussians'."""

    def pixel_weights(self, scene: Scene, bins: Bins, targets: Tensor, mask: Tensor, threshold: float) -> Tensor:
        """[N,4]: gaussian_pixel_weights' weight and weighted rgb, summed over the images."""

    def pictures(self, scene: Scene, bins: Bins, buffers: BufferProvider, faintest: float) -> tuple[Tensor, Tensor]:
        """As RasterPass.pictures; the planes may be left in ``buffers``."""

    def rasterize_mesh(
        self, vertices: Tensor, faces: Tensor, viewmats: Tensor, Ks: Tensor, width: int, height: int, near_plane: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As blendsplat.splatting.mesh.rasterize_mesh, of checked int32 faces."""

    def make_pass(self, images: int, gaussians: int, width: int, height: int, device: torch.device) -> RasterPass: ...

    def launch(self, device: torch.device) -> Launch: ...
