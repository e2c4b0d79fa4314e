# SPDX-License-Identifier: Apache-2.0
"""Which kernels run where: one backend object per device type, loaded when first asked for."""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache

import torch

from blendsplat.errors import BlendsplatError
from blendsplat.splatting.cpu import CpuBackend
from blendsplat.splatting.cuda import CudaBackend
from blendsplat.splatting.protocols import Backend, RasterPass


@lru_cache(maxsize=1)
def cpu_backend() -> CpuBackend:
    """The CPU kernels. Raises BlendsplatError when they were not built, or for other Python files."""
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
    """The CUDA kernels. Raises BlendsplatError when this installation has none, or for other Python files."""
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


def make_pass(images: int, gaussians: int, width: int, height: int, device: torch.device | str) -> RasterPass:
    """A RasterPass for ``images`` sets of ``gaussians`` each. Raises ValueError for a size or device it cannot have."""
    device = torch.device(device)
    return backend_for(device).make_pass(images, gaussians, width, height, device)


def available_kernels() -> dict[str, bool]:
    """{"cpu": built, "cuda": built and a device is there}, for reports; never raises."""
    found = {"cpu": importlib.util.find_spec("blendsplat._kernels_cpu") is not None, "cuda": False}
    if torch.cuda.is_available():
        found["cuda"] = importlib.util.find_spec("blendsplat._kernels_cuda") is not None
    return found
