# SPDX-License-Identifier: Apache-2.0
"""Where the fused operations of a training step run: the kernels of a device, and what every call of them is queued on.

Both backends have the same calls, but for their last arguments: threads on the CPU, device and stream on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blendsplat.splatting.backend import cpu_backend, cuda_backend


@dataclass(frozen=True)
class Launch:
    """A kernel module and the device it works on."""

    kernels: Any
    device: torch.device

    @property
    def queue(self) -> tuple[int, ...]:
        """The last arguments of a call: (threads,) or (device, stream)."""
        if hasattr(self.kernels, "instruction_set"):
            return (torch.get_num_threads(),)
        stream = torch.cuda.current_stream(self.device).cuda_stream if self.device.type == "cuda" else 0
        return (self.device.index or 0, stream)


def launch_on(device: torch.device) -> Launch:
    """The kernels of ``device``. Raises ValueError for devices other than cpu and cuda."""
    if device.type == "cpu":
        return Launch(cpu_backend().kernels, device)
    if device.type == "cuda":
        return Launch(cuda_backend().kernels, device)
    raise ValueError(f"device: expected cpu or cuda, got {device}")


def check_buffer(
    name: str, tensor: Tensor, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.float32
) -> None:
    """Raise ValueError unless ``tensor`` is contiguous and of this shape, dtype and device."""
    if tensor.shape == shape and tensor.dtype == dtype and tensor.device == device and tensor.is_contiguous():
        return
    strided = "" if tensor.is_contiguous() else ", not contiguous"
    raise ValueError(
        f"{name}: expected contiguous {dtype} {list(shape)} on {device}, got {tensor.dtype} {list(tensor.shape)} on "
        f"{tensor.device}{strided}"
    )
