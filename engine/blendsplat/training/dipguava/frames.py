# SPDX-License-Identifier: Apache-2.0
"""What a DipGuava's networks take of a clip's frames, computed once per frame instead of in every step: posed heads,
normal maps and, once the base is frozen, the maps that it draws."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.avatars.dipguava.model import DipGuava, FrameInputs
from blendsplat.avatars.dipguava.network_set import APPEARANCE
from blendsplat.avatars.dipguava.surface import normal_maps, triangle_frames
from blendsplat.training.frame_store import FrameStore

BUDGET = 3 * 2**30  # bytes to keep; the frames of larger clips are posed in every step
CHUNK = 16  # frames posed at once


class KnownFrames:
    """The inputs of a store's frames, by row: vertices [C,V,3]; normal and base maps [C,3|4,S,S] in half precision."""

    def __init__(self, data: FrameStore, avatar: DipGuava) -> None:
        device, size = avatar.positions.device, avatar.settings.uv_size
        self.data = data
        fits = data.capacity * (12 * avatar.head.vertex_count + 2 * (3 + APPEARANCE) * size * size) <= BUDGET
        rows = data.capacity if fits else 0
        self.vertices = torch.zeros(rows, avatar.head.vertex_count, 3, device=device)
        self.normals = torch.zeros(rows, 3, size, size, dtype=torch.float16, device=device)
        self.base: Tensor | None = None
        self._drawn = [False] * rows

    @torch.no_grad()
    def arrive(self, avatar: DipGuava, rows: list[int]) -> None:
        """New frames in ``rows``."""
        if not len(self.vertices):
            return
        for index in torch.tensor(rows, device=self.vertices.device).split(CHUNK):
            self.vertices[index] = avatar.vertices(self.data.params[index])
            self.normals[index] = normal_maps(
                self.vertices[index], avatar.head.faces, avatar.camera.viewmat, avatar.texels
            ).half()
        for row in rows:
            self._drawn[row] = False

    def inputs(self, avatar: DipGuava, rows: list[int], *, frozen_base: bool) -> FrameInputs:
        """What ``avatar`` takes of the frames in ``rows``. frozen_base: its base never changes from here on, so that
        every frame's map is drawn once."""
        index = torch.as_tensor(rows, device=avatar.positions.device)
        params = self.data.params[index]
        if not len(self.vertices):
            return avatar.inputs(params)
        frames = triangle_frames(self.vertices[index], avatar.head.faces)
        inputs = FrameInputs(avatar.condition(params), self.normals[index].float(), frames)
        if frozen_base and avatar.base is not None:
            inputs.base = self._base_maps(avatar, inputs, rows)[index].float()
        return inputs

    @torch.no_grad()
    def _base_maps(self, avatar: DipGuava, inputs: FrameInputs, rows: list[int]) -> Tensor:
        if self.base is None:
            self.base = self.normals.new_zeros(len(self.normals), APPEARANCE, *self.normals.shape[2:])
        missing = [place for place, row in enumerate(rows) if not self._drawn[row]]
        if missing:
            maps = avatar.base_map(inputs)
            assert maps is not None
            for place in missing:
                self.base[rows[place]] = maps[place % len(maps)].half()  # a learned map is one for all frames
                self._drawn[rows[place]] = True
        return self.base

    def forget_base(self) -> None:
        """The base is another's now, for example a checkpoint's."""
        self.base, self._drawn = None, [False] * len(self._drawn)
