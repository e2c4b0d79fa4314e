# SPDX-License-Identifier: Apache-2.0
"""Where the rasterizers' tensors come from, made anew or used again, and the sorted bins that stages hand on.

Kernels know only addresses; these classes own the tensors behind them.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from blendsplat.errors import BlendsplatError, OutOfMemory
from blendsplat.splatting.scene import Gradients, Scene


@dataclass
class Bins:
    """Projected Gaussians and, per tile, the indices that touch it, front to back; layouts are the backend's."""

    records: Tensor
    offsets: Tensor
    entries: Tensor
    kept: tuple[Tensor, ...] = ()  # what the backend's forward blend leaves for its backward
    longest: int = 0  # CPU: the most entries of a tile

    def tensors(self) -> tuple[Tensor, ...]:
        return self.records, self.offsets, self.entries, *self.kept

    @staticmethod
    def from_tensors(records: Tensor, offsets: Tensor, entries: Tensor, *kept: Tensor, longest: int = 0) -> Bins:
        return Bins(records, offsets, entries, kept, longest)


MAX_ENTRIES = 2**31 - 1  # (Gaussian, tile) pairs of a batch: above it the sort's indices, and most memories, overflow


def check_entries(count: int, scene: Scene) -> None:
    """Raise BlendsplatError when the Gaussians of a batch touch more tiles than can be sorted."""
    if count > MAX_ENTRIES:
        raise BlendsplatError(
            f"{scene.count} Gaussians, {scene.images} images of {scene.width}x{scene.height}, touch {count} tiles; "
            "they have grown gigantic. Lower the learning rate of the scales, or render fewer images at once."
        )


class BufferProvider(Protocol):
    """Where an operation gets the tensors that it leaves to its caller."""

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor. Raises OutOfMemory saying how much it asked for."""


class FreshBuffers:
    """A BufferProvider that allocates at every call, for results that somebody keeps."""

    def __init__(self, device: torch.device | str) -> None:
        self._device = device

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        try:
            return torch.empty(shape, dtype=dtype, device=self._device)
        except RuntimeError as error:  # what torch raises where its allocator finds no memory
            raise _shortage(name, math.prod(shape) * dtype.itemsize, error) from error


def plane_buffers(scene: Scene, buffers: BufferProvider) -> tuple[Tensor, Tensor, Tensor]:
    """image [B,H,W,3], alpha and depth [B,H,W,1], uninitialised."""
    size = (scene.images, scene.height, scene.width)
    return (
        buffers.take("image", (*size, 3), torch.float32),
        buffers.take("alpha", (*size, 1), torch.float32),
        buffers.take("depth", (*size, 1), torch.float32),
    )


def gradient_buffers(scene: Scene, buffers: BufferProvider) -> Gradients:
    """Shaped like the scene's Gaussians, uninitialised."""
    named = zip(Gradients._fields, scene.gaussians.tensors(), strict=True)
    return Gradients(*(buffers.take(f"grad_{name}", tuple(like.shape), torch.float32) for name, like in named))


def zeros(name: str, count: int) -> Tensor:
    """Float32 zeros on the CPU; pages that nobody touches cost no memory. Raises OutOfMemory as FreshBuffers does."""
    try:
        return torch.zeros(count)
    except RuntimeError as error:
        raise _shortage(name, 4 * count, error) from error


def _shortage(name: str, size: int, error: RuntimeError) -> OutOfMemory:
    return OutOfMemory(
        f"There is not enough memory: the rasterizer asked for {size / 2**30:.2f} GiB for its {name}. Draw fewer or "
        "smaller images at once, or use fewer Gaussians; if they have grown gigantic, lower the learning rate of the "
        "scales.",
        detail=str(error),
    )


class Buffers:
    """A BufferProvider of growing buffers by name, so that a training step allocates nothing new."""

    def __init__(self, device: torch.device | str = "cpu", spare: float = 0.25) -> None:
        self._fresh, self._spare = FreshBuffers(device), spare
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor; valid until the same name is taken again."""
        count = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count:
            buffer = self._fresh.take(name, (max(count + int(self._spare * count), 1),), dtype)
            self._buffers[name] = buffer
        return buffer[:count].view(shape)


class Workspace(Buffers, threading.local):
    """Buffers, one set per thread."""


def address(tensor: Tensor | None) -> int:
    """The address of a contiguous tensor's first element; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()
