# SPDX-License-Identifier: Apache-2.0
"""Where the fused operations of a training step run, and what they refuse."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.splatting.backend import backend_for
from blendsplat.splatting.protocols import Launch


def launch_on(device: torch.device) -> Launch:
    """The kernels of ``device``. Raises ValueError for devices other than cpu and cuda."""
    return backend_for(device).launch(device)


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
