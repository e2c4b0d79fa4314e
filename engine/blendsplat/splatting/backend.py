# SPDX-License-Identifier: Apache-2.0
"""Which kernels run where: one backend object per device type, loaded when first asked for."""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from blendsplat.errors import BlendsplatError
from blendsplat.splatting.buffers import Bins, Scene
from blendsplat.splatting.cpu import CpuBackend
from blendsplat.splatting.cuda import CudaBackend


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
    ) -> tuple[list[Tensor], Tensor | None]: ...

    def pixel_weights(self, scene: Scene, bins: Bins, targets: Tensor, mask: Tensor, threshold: float) -> Tensor: ...


@lru_cache(maxsize=1)
def cpu_backend() -> CpuBackend:
    """The CPU kernels. Raises BlendsplatError when they were not built."""
    try:
        return CpuBackend(importlib.import_module("blendsplat._kernels_cpu"))
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
        return CudaBackend(importlib.import_module("blendsplat._kernels_cuda"))
    except ImportError as error:
        raise BlendsplatError(
            "This installation of Blendsplat has no CUDA kernels: use the device cpu, or build with nvcc (see "
            "cuda_ext/README.md).",
            detail=repr(error),
        ) from error


def backend_for(device: torch.device) -> Backend:
    """The backend of a tensor's device. Raises ValueError for devices other than cpu and cuda."""
    if device.type == "cpu":
        return cpu_backend()
    if device.type == "cuda":
        return cuda_backend()
    raise ValueError(f"device: expected cpu or cuda tensors, got {device}")


def available_kernels() -> dict[str, bool]:
    """{"cpu": built, "cuda": built and a device is there}, for reports; never raises."""
    found = {"cpu": importlib.util.find_spec("blendsplat._kernels_cpu") is not None, "cuda": False}
    if torch.cuda.is_available():
        found["cuda"] = importlib.util.find_spec("blendsplat._kernels_cuda") is not None
    return found
