# SPDX-License-Identifier: GPL-3.0-or-later
"""Fewer keys on dense curves: a performance has one in every frame, which no hand can edit.

Keys are chosen as Ramer (1972) and Douglas and Peucker (1973) choose a polygon's corners, with the distance measured
along the value: between kept keys the curve is straight and nowhere, at any key there was, farther off than the
tolerance. A second cleaning with the same tolerance finds the same corners and takes nothing.

Smooth curves are chosen by trying: Blender evaluates its own curve through the kept keys, and where a key is too far
off it, it is kept as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from . import keyframes

_LINEAR, _BEZIER = 1, 2  # Keyframe.interpolation as foreach_get counts it
_AUTO_CLAMPED = 4  # Keyframe.handle_left_type, likewise
_ONE_FRAME = 1.0 + 1e-3  # keys this near to each other have nothing between them


@dataclass
class Cleaned:
    """What cleaning did: keys before and after, curves that were left alone because they are locked, and the largest
    error as a share of its curve's tolerance, with that curve's own error and place."""

    before: int = 0
    after: int = 0
    locked: int = 0
    share: float = 0.0
    error: float = 0.0
    worst: str = ""

    def __iadd__(self, other: Cleaned) -> Cleaned:
        self.before, self.after, self.locked = (
            self.before + other.before, self.after + other.after, self.locked + other.locked,
        )  # fmt: skip
        if other.share >= self.share:
            self.share, self.error, self.worst = other.share, other.error, other.worst or self.worst
        return self


def kept(frames: np.ndarray, values: np.ndarray, tolerance: float, pinned: np.ndarray | None = None) -> np.ndarray:
    """Which keys [K] (a mask) stay of keys at frames [K], rising, with values [K]: ``pinned`` [K] ones, the first, the
    last, and as many as hold every key within the tolerance of the straight line between its kept neighbours."""
    count = len(frames)
    stays = np.zeros(count, bool) if pinned is None else pinned.astype(bool).copy()
    if not count:
        return stays
    stays[[0, -1]] = True
    corners = np.flatnonzero(stays)
    spans = list(pairwise(corners))
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        inside = slice(first + 1, last)
        share = (frames[inside] - frames[first]) / max(frames[last] - frames[first], 1e-12)
        away = np.abs(values[inside] - (values[first] + share * (values[last] - values[first])))
        worst = int(away.argmax())
        if away[worst] > tolerance:
            corner = first + 1 + worst
            stays[corner] = True
            spans += [(first, corner), (corner, last)]
    return stays


def largest_error(frames: np.ndarray, values: np.ndarray, stays: np.ndarray) -> float:
    """How far any key lies from the straight lines between the kept ones."""
    straight = np.interp(frames, frames[stays], values[stays])
    return float(np.abs(straight - values).max(initial=0.0))


def clean(owner: Any, tolerance_of: Callable[[Any], float | None], *, smooth: bool = False) -> Cleaned:
    """Clean the curves of the owner's action. tolerance_of(curve): in the curve's own unit; None: it is left alone.
    smooth: what is left is a smooth curve (Bezier, automatic handles) instead of straight lines.

    Keys that an artist shaped (their way to the next key is no straight line) stay as they are, and so does what they
    lead to; so do curves that are locked, and those that are not written in keys.
    """
    done = Cleaned()
    for fcurve in keyframes.fcurves(owner):
        tolerance = tolerance_of(fcurve)
        if tolerance is None or len(fcurve.keyframe_points) < 3:
            continue
        done += Cleaned(locked=1) if fcurve.lock else _cleaned(fcurve, tolerance, smooth)
    return done


def _cleaned(fcurve: Any, tolerance: float, smooth: bool) -> Cleaned:
    count = len(fcurve.keyframe_points)
    frames, values = keyframes.points(fcurve).astype(float).T
    ways = np.empty(count, np.int32)
    fcurve.keyframe_points.foreach_get("interpolation", ways)
    shaped = _shaped(frames, ways)
    if smooth and not shaped.any() and not len(fcurve.modifiers):
        error = _smooth(fcurve, frames, values, tolerance)
    else:
        stays = kept(frames, values, tolerance, shaped)
        error = largest_error(frames, values, stays)
        _leave(fcurve, stays, np.where(shaped, ways, _LINEAR))
    left = len(fcurve.keyframe_points)
    return Cleaned(count, left, 0, error / max(tolerance, 1e-12), error, f"{fcurve.data_path} {fcurve.array_index}")


def _leave(fcurve: Any, stays: np.ndarray, ways: np.ndarray) -> None:
    """Take away all keys but those that stay [K] (a mask), which get their interpolation ``ways`` [K]."""
    if stays.all():
        return
    for index in np.flatnonzero(~stays)[::-1]:
        fcurve.keyframe_points.remove(fcurve.keyframe_points[int(index)], fast=True)
    fcurve.keyframe_points.foreach_set("interpolation", ways[stays].astype(np.int32))
    fcurve.update()


def _smooth(fcurve: Any, frames: np.ndarray, values: np.ndarray, tolerance: float) -> float:
    """Make a curve with automatic handles of as many of the keys as hold all of them within the tolerance -> the
    largest error. Kept keys are hit, so in the worst case all of them are."""
    stays = np.zeros(len(frames), bool)
    stays[[0, -1]] = True
    while True:
        _draw(fcurve, frames[stays], values[stays])
        away = np.abs(np.array([fcurve.evaluate(frame) for frame in frames]) - values)
        away[stays] = 0.0
        missing = [
            first + 1 + int(away[first + 1 : last].argmax())
            for first, last in pairwise(np.flatnonzero(stays)) if last - first > 1
        ]  # fmt: skip
        missing = [key for key in missing if away[key] > tolerance]
        if not missing:
            return float(away.max(initial=0.0))
        stays[missing] = True


def _draw(fcurve: Any, frames: np.ndarray, values: np.ndarray) -> None:
    """Replace the curve's keys by smooth ones."""
    points, count = fcurve.keyframe_points, len(frames)
    points.clear()
    points.add(count)
    points.foreach_set("co", np.stack([frames, values], 1).astype(np.float32).ravel())
    points.foreach_set("interpolation", np.full(count, _BEZIER, np.int32))
    for side in ("handle_left_type", "handle_right_type"):
        points.foreach_set(side, np.full(count, _AUTO_CLAMPED, np.int32))
    fcurve.update()


def _shaped(frames: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """The keys [K] from which a way that is not straight leads, and those to which it leads. Of a curve with a key in
    every frame (Blender's own bakes) none: its ways are too short to be of anybody's making."""
    if (np.diff(frames) <= _ONE_FRAME).all():
        return np.zeros(len(frames), bool)
    leads = ways[:-1] != _LINEAR
    return np.append(leads, False) | np.insert(leads, 0, False)
