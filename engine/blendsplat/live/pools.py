# SPDX-License-Identifier: Apache-2.0
"""The frames that a live training keeps: those of its local and its global pool, and no others.

A store of as many rows as both pools hold is enough: whatever leaves both makes room for the next frame.
"""

from __future__ import annotations

from torch import Tensor

from blendsplat.heads.model import HeadParams
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.presets import Preset
from blendsplat.training.trainer import make_online_sampler


class FramePools:
    """``store`` and ``sampler`` of a live training, filled together."""

    def __init__(self, preset: Preset, height: int, width: int, params: HeadParams) -> None:
        """params: of any frame of the person."""
        capacity = preset.online_local_pool + preset.online_global_pool + 1
        self.store = FrameStore(capacity, height, width, params)
        self.sampler = make_online_sampler(preset)
        self._free: list[int] = []

    def admit(self, number: int, planes: Tensor, params: HeadParams) -> int:
        """Take in a frame: planes [1,H,W,5] as FrameStore.add has them, parameters of one row -> its row."""
        row = self._free.pop() if self._free else len(self.store)
        self.store.place([row], [number], planes, params)
        self.sampler.observe(row)
        if not self._free and len(self.store) == self.store.capacity:
            kept = {*self.sampler.local, *self.sampler.long_term}
            self._free = [other for other in range(len(self.store)) if other not in kept]
        return row
