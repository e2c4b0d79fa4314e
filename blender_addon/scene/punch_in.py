# SPDX-License-Identifier: GPL-3.0-or-later
"""A performance between two frames of the timeline, put into what is keyed there: before and behind it every key stays
as it is, and at both ends the old glides into the new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from . import keyframes
from .keyframes import Curve

_KEPT = {  # of keys outside: attribute -> numbers of a key
    "co": 2, "handle_left": 2, "handle_right": 2, "interpolation": 1, "handle_left_type": 1, "handle_right_type": 1,
    "easing": 1, "back": 1, "amplitude": 1, "period": 1,
}  # fmt: skip
_FLOATS = ("co", "handle_left", "handle_right", "back", "amplitude", "period")
_LINEAR, _FREE = 1, 0  # as foreach_set counts interpolations and kinds of handles


@dataclass(frozen=True)
class Window:
    """Frames of the timeline; blend: how many at each end lead from the old to the new."""

    first: float
    last: float
    blend: float = 0.0

    def inside(self, frames: np.ndarray) -> np.ndarray:
        """[F] bool."""
        return (frames >= self.first) & (frames <= self.last)

    def share(self, frames: np.ndarray) -> np.ndarray:
        """How much of the new counts [F]: smoothly from 0 at both ends to 1."""
        if self.blend <= 0:
            return np.ones(len(frames))
        near = np.clip(np.minimum(frames - self.first, self.last - frames) / self.blend, 0, 1)
        return near * near * (3 - 2 * near)


def write(owner: bpy.types.ID, curves: list[Curve], name: str, window: Window) -> None:
    """Put the curves' keys inside of the window into the owner's action, whoever made it; one is made where it has
    none, which holds outside what the owner's numbers are now."""
    present = {(curve.data_path, curve.array_index): curve for curve in keyframes.fcurves(owner)}
    fresh = []
    for curve in curves:
        frames = np.asarray(curve.frames, float)
        rows = window.inside(frames)
        old = present.get((curve.data_path, curve.index))
        times = np.unique(np.concatenate([[window.first], frames[rows], [window.last]]))
        given = np.interp(times, frames, curve.values)
        before = keyframes.number(owner, curve) if old is None else np.array([old.evaluate(time) for time in times])
        share = window.share(times)
        values = given if window.blend <= 0 else (1 - share) * before + share * given
        if old is None:
            rest = keyframes.number(owner, curve)
            times = np.concatenate([[window.first - 1], times, [window.last + 1]])
            fresh.append(Curve(curve.data_path, curve.index, times, np.array([rest, *values, rest]), curve.group))
        else:
            _refill(old, window, times, values)
    keyframes.add(owner, fresh, name)


def _refill(fcurve: Any, window: Window, times: np.ndarray, values: np.ndarray) -> None:
    """Keys outside as they were, handles and all; inside straight lines between the values."""
    points = fcurve.keyframe_points
    kept = {}
    for name, width in _KEPT.items():
        array = np.empty(len(points) * width, np.float32 if name in _FLOATS else np.int32)
        points.foreach_get(name, array)
        kept[name] = array.reshape(-1, width)
    outside = ~window.inside(kept["co"][:, 0])
    spots = np.stack([times, values], 1).astype(np.float32)
    order = np.argsort(np.concatenate([kept["co"][outside, 0], spots[:, 0]]), kind="stable")
    points.clear()
    points.add(len(order))
    for name, array in kept.items():
        new = np.zeros((len(spots), array.shape[1]), array.dtype)
        if name in ("co", "handle_left", "handle_right"):
            new[:] = spots
        elif name == "interpolation":
            new[:] = _LINEAR
        elif name in ("handle_left_type", "handle_right_type"):
            new[:] = _FREE
        points.foreach_set(name, np.concatenate([array[outside], new])[order].ravel())
    fcurve.update()
