# SPDX-License-Identifier: Apache-2.0
"""What the rasterizer and its backends hand to each other: the checked scene, the sorted bins, scratch that is reused.

Backends know only addresses; these classes own the tensors behind them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from blendsplat.errors import BlendsplatError, OutOfMemory

DEFAULT_NEAR_PLANE = 0.01  # world units


@dataclass(frozen=True)
class Scene:
    """Validated, contiguous float32 inputs of one batch on one device."""

    means: Tensor  # [B,N,3]
    quats: Tensor  # [B,N,4]
    scales: Tensor  # [B,N,3], or [1,N,3]: the same in every image
    opacities: Tensor  # [B,N] or [1,N], likewise
    colors: Tensor  # [B,N,3]
    viewmats: Tensor  # [B,4,4]
    Ks: Tensor  # [B,3,3]
    width: int
    height: int
    near_plane: float

    @property
    def images(self) -> int:
        return self.means.shape[0]

    @property
    def gaussians(self) -> int:
        return self.means.shape[1]

    @property
    def shared_scales(self) -> bool:
        return self.scales.shape[0] != self.images

    @property
    def shared_opacities(self) -> bool:
        return self.opacities.shape[0] != self.images

    def pixels(self, channels: int) -> Tensor:
        """An uninitialised [B,H,W,channels] plane."""
        return self.means.new_empty(self.images, self.height, self.width, channels)


class Gradients(NamedTuple):
    """Gradients of a scene's Gaussians, shaped like them: what the images share gets the sum over the images."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor


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
            f"{scene.gaussians} Gaussians, {scene.images} images of {scene.width}x{scene.height}, touch {count} tiles; "
            "they have grown gigantic. Lower the learning rate of the scales, or render fewer images at once."
        )


Take = Callable[[str, tuple[int, ...], torch.dtype], Tensor]  # (name, shape, dtype) -> an uninitialised tensor


def fresh_on(device: torch.device | str) -> Take:
    """A Take that allocates on ``device``, for results that somebody keeps. It raises OutOfMemory saying how much it
    asked for."""

    def take(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        try:
            return torch.empty(shape, dtype=dtype, device=device)
        except RuntimeError as error:  # what torch raises where its allocator finds no memory
            raise _shortage(name, math.prod(shape) * dtype.itemsize, error) from error

    return take


def zeros(name: str, count: int) -> Tensor:
    """Float32 zeros on the CPU; pages that nobody touches cost no memory. Raises OutOfMemory as ``fresh`` does."""
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


fresh = fresh_on(torch.device("cpu"))


class Buffers:
    """Growing buffers by name, so that a training step allocates nothing new."""

    def __init__(self, device: torch.device | str = "cpu", spare: float = 0.25) -> None:
        self._device, self._spare = device, spare
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor; valid until the same name is taken again."""
        count = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count:
            buffer = fresh_on(self._device)(name, (max(count + int(self._spare * count), 1),), dtype)
            self._buffers[name] = buffer
        return buffer[:count].view(shape)


class Workspace(Buffers, threading.local):
    """Buffers, one set per thread."""


def address(tensor: Tensor | None) -> int:
    """The address of a contiguous tensor's first element; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()
