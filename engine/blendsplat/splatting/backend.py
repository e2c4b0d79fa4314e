# SPDX-License-Identifier: Apache-2.0
"""Which kernels run where: one backend object per device type, loaded when first asked for."""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from blendsplat.errors import BlendsplatError
from blendsplat.splatting.buffers import DEFAULT_NEAR_PLANE, Bins, Gradients, Scene
from blendsplat.splatting.cpu import CpuBackend
from blendsplat.splatting.cuda import CudaBackend

KERNEL_INTERFACE = 4  # as in cuda_ext/include/blendsplat/interface.h


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
        """Fill image, alpha and depth. scales [B,N,3] or [1,N,3], opacities [B,N] or [1,N]: one set for all images.

        The inputs must stay as they are until ``backward``, which reads them again.
        """

    def backward(
        self, grad_image: Tensor | None, grad_alpha: Tensor | None = None, grad_depth: Tensor | None = None
    ) -> None:
        """Fill grads from the gradients of the outputs, each shaped like its output or None.

        Raises ValueError when no forward pass went before.
        """

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
        """gaussian_pixel_weights, for Gaussians as ``forward`` takes them; all weights are zero where some are lost."""

    def overflowed(self) -> bool:
        """True when the step before lost Gaussians because its buffers were too small, and has to be done again.

        On a GPU the answer is a step late, so that nobody waits for it; buffers have grown by then. Never on the CPU.
        """


class Backend(Protocol):
    """The operations that a device offers; shapes as in blendsplat.splatting.gaussians."""

    def bin(self, scene: Scene) -> Bins: ...

    def blend_forward(self, scene: Scene, bins: Bins, backgrounds: Tensor | None) -> tuple[Tensor, Tensor, Tensor]: ...

    def backward(
        self,
        scene: Scene,
        bins: Bins,
        backgrounds: Tensor | None,
        grads: tuple[Tensor | None, ...],
        need_background: bool,
    ) -> tuple[Gradients, Tensor | None]: ...

    def pixel_weights(self, scene: Scene, bins: Bins, targets: Tensor, mask: Tensor, threshold: float) -> Tensor: ...

    def rasterize_mesh(
        self, vertices: Tensor, faces: Tensor, viewmats: Tensor, Ks: Tensor, width: int, height: int, near_plane: float
    ) -> tuple[Tensor, Tensor, Tensor]: ...

    def make_pass(
        self, images: int, gaussians: int, width: int, height: int, device: torch.device, near_plane: float
    ) -> RasterPass: ...


@lru_cache(maxsize=1)
def cpu_backend() -> CpuBackend:
    """The CPU kernels. Raises BlendsplatError when they were not built."""
    try:
        return CpuBackend(_matching(importlib.import_module("blendsplat._kernels_cpu")))
    except ImportError as error:
        raise BlendsplatError(
            "Blendsplat's compiled kernels are missing from this installation: install the wheel, or run 'make build' "
            "in a working tree.",
            detail=repr(error),
        ) from error


@lru_cache(maxsize=1)
def cuda_backend() -> CudaBackend:
    """The CUDA kernels. Raises BlendsplatError when this installation has none."""
    try:
        return CudaBackend(_matching(importlib.import_module("blendsplat._kernels_cuda")))
    except ImportError as error:
        raise BlendsplatError(
            "This installation of Blendsplat has no CUDA kernels: use the device cpu, or build with nvcc (see "
            "cuda_ext/README.md).",
            detail=repr(error),
        ) from error


def _matching(kernels: ModuleType) -> ModuleType:
    """The module, if it was built for the Python beside it. Raises BlendsplatError otherwise."""
    built = getattr(kernels, "INTERFACE", None)
    if built != KERNEL_INTERFACE:
        raise BlendsplatError(
            "Blendsplat's compiled kernels come from another version than the Python files beside them: install the "
            "wheel again, or run 'make build' in a working tree.",
            detail=f"{kernels.__name__}: interface {built}, expected {KERNEL_INTERFACE}",
        )
    return kernels


def backend_for(device: torch.device) -> Backend:
    """The backend of a tensor's device. Raises ValueError for devices other than cpu and cuda."""
    if device.type == "cpu":
        return cpu_backend()
    if device.type == "cuda":
        return cuda_backend()
    raise ValueError(f"device: expected cpu or cuda tensors, got {device}")


def make_pass(
    images: int,
    gaussians: int,
    width: int,
    height: int,
    device: torch.device | str,
    near_plane: float = DEFAULT_NEAR_PLANE,
) -> RasterPass:
    """A RasterPass for ``images`` sets of ``gaussians`` each. Raises ValueError for a size or device it cannot have."""
    device = torch.device(device)
    return backend_for(device).make_pass(images, gaussians, width, height, device, near_plane)


def available_kernels() -> dict[str, bool]:
    """{"cpu": built, "cuda": built and a device is there}, for reports; never raises."""
    found = {"cpu": importlib.util.find_spec("blendsplat._kernels_cpu") is not None, "cuda": False}
    if torch.cuda.is_available():
        found["cuda"] = importlib.util.find_spec("blendsplat._kernels_cuda") is not None
    return found
