# SPDX-License-Identifier: Apache-2.0
"""What the rasterizer and its backends hand to each other: the checked scene, the sorted bins, scratch that is reused.

Backends know only addresses; these classes own the tensors behind them.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.errors import BlendsplatError


@dataclass(frozen=True)
class Scene:
    """Validated, contiguous float32 inputs of one batch on one device."""

    means: Tensor  # [B,N,3]
    quats: Tensor  # [B,N,4]
    scales: Tensor  # [B,N,3]
    opacities: Tensor  # [B,N]
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

    def pixels(self, channels: int) -> Tensor:
        """An uninitialised [B,H,W,channels] plane."""
        return self.means.new_empty(self.images, self.height, self.width, channels)


@dataclass
class Bins:
    """Projected Gaussians and, per tile, the indices that touch it, front to back; layouts are the backend's."""

    records: Tensor
    offsets: Tensor
    entries: Tensor
    kept: tuple[Tensor, ...] = ()  # what the backend's forward blend leaves for its backward

    def tensors(self) -> tuple[Tensor, ...]:
        return self.records, self.offsets, self.entries, *self.kept

    @staticmethod
    def from_tensors(records: Tensor, offsets: Tensor, entries: Tensor, *kept: Tensor) -> Bins:
        return Bins(records, offsets, entries, kept)


MAX_ENTRIES = 2**31 - 1  # (Gaussian, tile) pairs of a batch: above it the sort's indices, and most memories, overflow


def check_entries(count: int, scene: Scene) -> None:
    """Raise BlendsplatError when the Gaussians of a batch touch more tiles than can be sorted."""
    if count > MAX_ENTRIES:
        raise BlendsplatError(
            f"{scene.gaussians} Gaussians, {scene.images} images of {scene.width}x{scene.height}, touch {count} tiles; "
            "they have grown gigantic. Lower the learning rate of the scales, or render fewer images at once."
        )


class Workspace(threading.local):
    """Growing scratch buffers, one set per thread, so that a training step allocates nothing new."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, count: int, dtype: torch.dtype) -> Tensor:
        """``count`` uninitialised elements; valid until the same name is taken again in this thread."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < count:
            buffer = torch.empty(max(count + count // 4, 1), dtype=dtype)
            self._buffers[name] = buffer
        return buffer


def address(tensor: Tensor | None) -> int:
    """The address of a contiguous tensor's first element; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()
