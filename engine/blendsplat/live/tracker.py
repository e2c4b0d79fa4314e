# SPDX-License-Identifier: Apache-2.0
"""A looked-at picture to a tracked frame: the fit from the frame before, and which pixels the avatar answers for.

The neck's cut is an imported clip's, drawn on every frame as it comes (three milliseconds at 256 pixels); only the
hair's colours are learned from the first seconds and then kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.frame_fitter import FrameFitter, FrameState
from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.performance import Performance
from blendsplat.heads.posing import Posing
from blendsplat.live.look import Looked
from blendsplat.tracking import neck_cut
from blendsplat.tracking.drawn_head import HAIR_FRAMES, DrawnHead, HeadDrawing, learn_hair


@dataclass(frozen=True)
class TrackedFrame:
    """A picture with what was found in it. params: one row, None where the face was not understood; error: the
    landmarks' mean distance over the distance between the eyes; valid [S,S] uint8 weights; drawn: the mesh."""

    looked: Looked
    params: HeadParams | None
    error: float
    valid: np.ndarray
    drawn: DrawnHead | None


class LiveTracker:
    """Tracks one person's frames in order. Used by one thread."""

    def __init__(self, head: HeadModel, person: Performance, frames: Sequence[Looked]) -> None:
        """person: the settled performance of ``frames``."""
        self._fitter = FrameFitter.of(head, person)
        self._person = person
        shape, offsets = torch.as_tensor(person.shape), torch.as_tensor(person.vertex_offsets)
        self.head = head.personalise(shape, offsets, person.head)
        self._posing = Posing(self.head)
        self._drawing = HeadDrawing(head, person)
        self._torso = rotvec_to_matrix(person.params().root_pose[:1]).numpy()
        self._state: FrameState | None = None
        params = self._settled = replace(person.params(), shape=torch.zeros(1, 0))  # which the head has built in
        shown = np.flatnonzero(person.valid)
        chosen = np.unique(shown[np.linspace(0, len(shown) - 1, HAIR_FRAMES).astype(int)])
        drawn = ((self._draw(params[[row]]), frames[row].image, frames[row].matte) for row in chosen.tolist())
        self._hair = learn_hair(head, drawn)

    def first(self, frames: Sequence[Looked]) -> list[TrackedFrame]:
        """The frames that the person was settled from."""
        params, person = self._settled, self._person
        return [
            self._cut(frame, params[[row]], float(person.landmark_errors[row]))
            if person.valid[row] else self._lost(frame, float(person.landmark_errors[row]))
            for row, frame in enumerate(frames)
        ]  # fmt: skip

    def __call__(self, looked: Looked) -> TrackedFrame:
        """The next frame."""
        points = None if looked.points is None else looked.points[:, :2]
        state = self._fitter.fit(points, self._state, looked.seconds)
        params = state.params()
        if state.valid and not _finite(params):  # a fit that diverged must not be where the next one starts
            self._state = None
            return self._lost(looked, float("inf"))
        self._state = state
        return self._cut(looked, params, state.error) if state.valid else self._lost(looked, state.error)

    def _cut(self, looked: Looked, params: HeadParams, error: float) -> TrackedFrame:
        drawn = self._draw(params, looked.number)
        mesh = drawn.face_ids >= 0
        valid = neck_cut.valid_map(drawn.neck, mesh, looked.matte, looked.image, self._hair)
        return TrackedFrame(looked, params, error, valid, drawn)

    def _lost(self, looked: Looked, error: float) -> TrackedFrame:
        return TrackedFrame(looked, None, error, np.zeros(looked.matte.shape, np.uint8), None)

    def _draw(self, params: HeadParams, number: int = 0) -> DrawnHead:
        vertices: Tensor = self._posing(params)
        return self._drawing([number], vertices, self._torso, self._person.K[None])[0]


def _finite(params: HeadParams) -> bool:
    return all(bool(getattr(params, item.name).isfinite().all()) for item in fields(params))
