# SPDX-License-Identifier: Apache-2.0
"""Training frames in memory: as many bytes as a frame has, 8 bit, at addresses that never change, on one device.

A store has a fixed capacity. It is filled at once from a clip, or grows while a training runs; a full one goes on as a
ring, whose newest frame takes the oldest one's row. What is computed once per frame is computed when frames arrive, by
those who subscribed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from blendsplat.heads.model import HeadParams
from blendsplat.splatting.image_loss import TargetFrames

Arrival = Callable[[list[int]], None]
_LEAST_WEIGHT = 1e-3


@dataclass
class FrameBatch:
    """B frames: premultiplied [B,H,W,3] and alpha, valid [B,H,W,1] as floats in [0,1]; weights [B]: what each counts
    in a training, a usual frame 1."""

    premultiplied: Tensor
    alpha: Tensor
    valid: Tensor
    weights: Tensor

    @property
    def person(self) -> Tensor:
        """bool [B,H,W]: pixels that are more the person's than not, by the matte, and that count."""
        return ((self.alpha > 0.5) & (self.valid > 0.5))[..., 0]

    def target(self, backgrounds: Tensor) -> Tensor:
        """The frames over backgrounds [B,3]: [B,H,W,3]."""
        return torch.addcmul(self.premultiplied, 1 - self.alpha, backgrounds[:, None, None])


class FrameStore:
    """Room for C frames, ``len`` of them filled. premultiplied [C,H,W,3], alpha and valid [C,H,W], uint8; params: head
    parameters with C rows (the shape has one); numbers: which frame of its clip each filled row holds."""

    def __init__(self, capacity: int, height: int, width: int, params: HeadParams) -> None:
        """params: of any frames of the same head; says how many values there are, and the device."""
        device = params.expression.device
        self.premultiplied = torch.zeros(capacity, height, width, 3, dtype=torch.uint8, device=device)
        self.alpha = torch.zeros(capacity, height, width, dtype=torch.uint8, device=device)
        self.valid = torch.zeros(capacity, height, width, dtype=torch.uint8, device=device)
        self.params = HeadParams(**{f.name: _room(getattr(params, f.name), f.name, capacity) for f in fields(params)})
        self.numbers: list[int] = []
        self.targets = TargetFrames(self.premultiplied, self.alpha, self.valid)
        self._arrived = 0
        self._subscribers: list[Arrival] = []

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def capacity(self) -> int:
        return len(self.alpha)

    @property
    def arrived(self) -> int:
        """How many frames ever came; above ``capacity`` the oldest are gone."""
        return self._arrived

    def subscribe(self, function: Arrival) -> None:
        """``function(rows)`` is called at once for the rows that are filled, and later for those that frames arrive in
        (a row that held another frame before may be among them)."""
        self._subscribers.append(function)
        if len(self):
            function(list(range(len(self))))

    def add(self, numbers: Sequence[int], planes: Tensor, params: HeadParams) -> list[int]:
        """Take in frames: planes [M,H,W,5] uint8 (premultiplied RGB, matte, valid weight) and their parameters [M],
        or one row for all -> the rows they lie in. Raises ValueError, before anything changed, for more frames than
        there is room for, of another size, or of another head."""
        self._check(len(numbers), planes, params)
        rows = [(self._arrived + place) % self.capacity for place in range(len(numbers))]
        self._arrived += len(numbers)
        self._put(rows, numbers, planes, params)
        return rows

    def place(self, rows: Sequence[int], numbers: Sequence[int], planes: Tensor, params: HeadParams) -> None:
        """``add``, but into rows that are filled or the next that are free, as those of another store that this one
        follows. Raises ValueError for others, too."""
        self._check(len(numbers), planes, params)
        free = sorted(row for row in rows if row >= len(self))
        if len(rows) != len(numbers) or min(rows, default=0) < 0 or len(self) + len(free) > self.capacity:
            raise ValueError(f"rows: expected {len(numbers)} of {self.capacity}, got {list(rows)}")
        if free != list(range(len(self), len(self) + len(free))):
            raise ValueError(f"rows: the next free one is {len(self)}, got {list(rows)}")
        self._put(list(rows), numbers, planes, params)

    def _put(self, rows: list[int], numbers: Sequence[int], planes: Tensor, params: HeadParams) -> None:
        if not rows:
            return
        index = torch.tensor(rows, dtype=torch.long, device=self.alpha.device)
        planes = planes.to(self.alpha.device)
        self.premultiplied[index], self.alpha[index], self.valid[index] = (
            planes[..., :3],
            planes[..., 3],
            planes[..., 4],
        )
        for item in fields(params):
            have, new = getattr(self.params, item.name), getattr(params, item.name)
            if item.name == "shape":
                have.copy_(new[:1])
            else:
                have[index] = new.to(have).expand(len(numbers), *new.shape[1:])
        for row, number in sorted(zip(rows, numbers, strict=True)):
            if row < len(self.numbers):
                self.numbers[row] = int(number)
            else:
                self.numbers.append(int(number))
        self.targets.frame_weights[index] = 1
        self.targets.refresh(rows)
        for function in self._subscribers:
            function(rows)

    def weigh(self, weights: Tensor) -> None:
        """Say what each filled row counts in a training (weights [len]; one that arrives counts 1): its loss is that
        many times as much. No scores are weighted. None counts nothing at all, so that its figures stay finite."""
        self.targets.frame_weights[: len(self)] = weights.to(self.alpha.device).float().clamp_min(_LEAST_WEIGHT)
        self.targets.refresh(range(len(self)))

    def _check(self, count: int, planes: Tensor, params: HeadParams) -> None:
        """Raise ValueError for what ``add`` cannot take."""
        if count > self.capacity:
            raise ValueError(f"numbers: {count} frames at once are more than the store's {self.capacity}")
        want = [count, *self.premultiplied.shape[1:3], 5]
        if list(planes.shape) != want or planes.dtype != torch.uint8:
            raise ValueError(f"planes: expected uint8 {want}, got {planes.dtype} {list(planes.shape)}")
        for item in fields(params):
            have, new = getattr(self.params, item.name), getattr(params, item.name)
            rows = {1} if item.name == "shape" else {1, count}
            if new.shape[1:] != have.shape[1:] or len(new) not in rows:
                want = [count if item.name != "shape" else 1, *have.shape[1:]]
                raise ValueError(f"params: expected {item.name} {want}, got {list(new.shape)}")

    def to(self, device: torch.device | str) -> FrameStore:
        """A copy of the filled rows on another device, with room for just them."""
        return self.part(range(len(self)), device)

    def part(self, rows: Sequence[int], device: torch.device | str | None = None) -> FrameStore:
        """A copy of some filled rows, on the same or another device, with room for just them."""
        index = torch.as_tensor(list(rows), dtype=torch.long, device=self.alpha.device)
        params = self.params[index].to(device or self.alpha.device)
        _, height, width = self.alpha.shape
        store = FrameStore(len(rows), height, width, params)
        planes = [self.premultiplied, self.alpha[..., None], self.valid[..., None]]
        store.add([self.numbers[row] for row in rows], torch.cat([plane[index] for plane in planes], -1), params)
        store.weigh(self.targets.frame_weights[index])
        return store

    def batch(self, rows: Tensor | list[int]) -> FrameBatch:
        """Some of the frames, by row (not by number)."""
        index = torch.as_tensor(rows, device=self.alpha.device)
        return FrameBatch(
            self.premultiplied[index].float() / 255,
            self.alpha[index].float()[..., None] / 255,
            self.valid[index].float()[..., None] / 255,
            self.targets.frame_weights[index],
        )


def _room(value: Tensor, name: str, capacity: int) -> Tensor:
    """Zeros for ``capacity`` frames of a parameter."""
    return value.new_zeros(1 if name == "shape" else capacity, *value.shape[1:])
