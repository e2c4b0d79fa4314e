# SPDX-License-Identifier: GPL-3.0-or-later
"""How good a clip's tracking is, over the timeline: animated custom properties of the head, and its worst moments.

Quality is 0 to 1: how well the picture confirms the frame, and how little the face's points miss it. Files of earlier
versions say neither; their heads have none of this.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ..formats import Performance
from . import keyframes

QUALITY, ERROR, CONFIDENCE = "Tracking Quality", "Landmark Error", "Tracking Confidence"
LOST = 0.25  # of the distance between the eyes: the engine takes such a frame for one without a face
_USUAL, _BAD = 0.02, 0.1  # the same of a frame as good as the points themselves are, and of one that is plainly wrong
_GROUP = "Tracking"
_COLOURS = {QUALITY: (0.35, 0.9, 0.4), ERROR: (1.0, 0.55, 0.15), CONFIDENCE: (0.35, 0.7, 1.0)}  # in the Graph Editor
_APART = 12  # frames between two of the worst moments: neighbours are bad for the same reason
# The engine's (tracking/doubts.py), which says the same of the same figures.
DOUBTED = 0.4  # confidence below which a part of the face is doubtful
WHOLE = "whole face"
WATCHED = (
    "mouth", "chin", "nose", "left cheek", "right cheek", "left eye", "right eye", "forehead", "face", "eyes",
)  # parts that engines name, earlier ones the last two; hair and neck move by themselves  # fmt: skip
_MOST_PARTS = 0.7  # of the parts doubtful at once: it is the whole face's matter
_TOGETHER, _SHORTEST = 0.2, 0.1  # seconds between two stretches that are one, and of one that is told of
_DESCRIPTIONS = {
    QUALITY: "How good the tracking of this frame is: 1 good, 0 lost",
    ERROR: "How far the points found on the face miss the head, in percent of the distance between the eyes",
    CONFIDENCE: "How well the picture confirms the head: 1 fully, 0 not at all",
}


@dataclass
class Quality:
    """frames [K] of the timeline, rising, and their quality [K]."""

    frames: np.ndarray
    values: np.ndarray

    def share_below(self, limit: float) -> float:
        """The part of the frames that are worse than ``limit``."""
        return float((self.values < limit).mean())

    def worst(self, count: int, without: np.ndarray | None = None) -> list[tuple[int, float]]:
        """(frame, quality) of the worst moments, the worst first, apart from each other and from the frames
        ``without`` (of the timeline), which were looked at already."""
        left = self.values.astype(float)
        for frame in () if without is None else without:
            left[np.abs(self.frames - frame) < _APART] = np.inf
        found: list[tuple[int, float]] = []
        while len(found) < count and np.isfinite(left).any():
            index = int(left.argmin())
            found.append((round(float(self.frames[index])), float(self.values[index])))
            left[np.abs(self.frames - self.frames[index]) < _APART] = np.inf
        return found


@dataclass(frozen=True)
class Doubt:
    """A part of the face, or WHOLE, that the pictures do not confirm from one frame of the timeline to another."""

    part: str
    first: int
    last: int


def region_property(region: str) -> str:
    """The custom property of one of the face's regions."""
    return f"Confidence: {region}"


def write(head: bpy.types.Object, performance: Performance, start: float, fps: float) -> None:
    """Key the head's properties from what the performance says of itself; those of an earlier one go."""
    for name in filter(_is_ours, list(head.keys())):
        keyframes.remove(head, _path(name))
        del head[name]
    told = _told(performance)
    if not told:
        return
    frames = start + performance.timestamps * fps
    for name, values in told.items():
        head[name] = float(values[0])
        high = {"max": float(100 * LOST), "soft_max": 10.0} if name == ERROR else {"max": 1.0}
        words = _DESCRIPTIONS.get(name, "How well the picture confirms this part of the face: 1 fully, 0 not at all")
        if name == ERROR:
            high["max"] = max(high["max"], float(values.max()))
        head.id_properties_ui(name).update(min=0.0, description=words, **high)
    curves = [keyframes.Curve(_path(name), 0, frames, values, _GROUP) for name, values in told.items()]
    keyframes.add(head, curves, f"{head.name} tracking")
    for fcurve in keyframes.fcurves(head):
        if fcurve.data_path in {curve.data_path for curve in curves}:  # to look at, one at a time, and not to move
            fcurve.lock, fcurve.hide, fcurve.select = True, fcurve.data_path != _path(QUALITY), False


def read(head: bpy.types.Object) -> Quality | None:
    """What the head's curve of quality says; None where nobody knows."""
    path = _path(QUALITY)
    fcurve = next((item for item in keyframes.fcurves(head) if item.data_path == path), None)
    if fcurve is None or not len(fcurve.keyframe_points):
        return None
    points = keyframes.points(fcurve)
    return Quality(points[:, 0], points[:, 1])


def at(head: bpy.types.Object, name: str, frame: float) -> float | None:
    """What the head's curve ERROR, CONFIDENCE or QUALITY says at a frame of the timeline; None where nobody knows."""
    path = _path(name)
    return next((float(item.evaluate(frame)) for item in keyframes.fcurves(head) if item.data_path == path), None)


def unfold_curves(head: bpy.types.Object, fps: float) -> bool:
    """Let the Graph Editor show quality, landmark error and confidence, and of the face's parts those that are doubtful
    somewhere -> there are any."""
    found, doubted = False, {doubt.part for doubt in doubts(head, fps)}
    for fcurve in keyframes.fcurves(head):
        name = _name(fcurve)
        if _is_ours(name):
            shown = name in _COLOURS or _watched(name) in doubted
            fcurve.hide, fcurve.select = not shown, shown  # locked curves that are not selected are hardly seen
            if name in _COLOURS:
                fcurve.color_mode, fcurve.color = "CUSTOM", _COLOURS[name]
            if fcurve.group is not None:
                fcurve.group.show_expanded_graph = True
            found = True
    return found


def worst_region(head: bpy.types.Object, frame: float) -> str:
    """The part of the face that the picture confirms least at a frame; "" where nobody knows."""
    begin, found, lowest = region_property(""), "", 1.0
    for fcurve in keyframes.fcurves(head):
        name = _name(fcurve)
        if name.startswith(begin) and (value := fcurve.evaluate(frame)) < lowest:
            found, lowest = name.removeprefix(begin), value
    return found.replace("_", " ")


def doubts(head: bpy.types.Object, fps: float) -> list[Doubt]:
    """Where the pictures do not confirm parts of the face, in the timeline's order; nothing where nobody knows."""
    frames, columns = np.zeros(0), {}
    for fcurve in keyframes.fcurves(head):
        if (part := _watched(_name(fcurve))) and len(fcurve.keyframe_points):
            points = keyframes.points(fcurve)
            frames, columns[part] = points[:, 0], points[:, 1] < DOUBTED
    if not columns:
        return []
    whole = np.mean(list(columns.values()), axis=0) > _MOST_PARTS
    found = [Doubt(WHOLE, *ends) for ends in _stretches(frames, whole, fps)]
    for part, doubtful in columns.items():
        found += [Doubt(part, *ends) for ends in _stretches(frames, doubtful & ~whole, fps)]
    return sorted(found, key=lambda doubt: (doubt.first, doubt.last))


def _stretches(frames: np.ndarray, doubtful: np.ndarray, fps: float) -> list[tuple[int, int]]:
    """(first, last) of the timeline's frames [K] for the stretches of doubtful [K] that are long enough to be told."""
    here = frames[doubtful]
    if not len(here):
        return []
    usual = float(np.median(np.diff(frames))) if len(frames) > 1 else 1.0
    parts = np.split(here, np.flatnonzero(np.diff(here) > _TOGETHER * fps + usual) + 1)
    return [
        (round(float(part[0])), round(float(part[-1])))
        for part in parts
        if part[-1] - part[0] + usual >= _SHORTEST * fps - 1e-3
    ]


def _told(performance: Performance) -> dict[str, np.ndarray]:
    """Values [F] by property. Arrays in which every frame is the same are an older engine's, which knew nothing."""
    arrays, seen = performance.arrays, performance.arrays["valid"].astype(bool)
    told: dict[str, np.ndarray] = {}
    errors, confidence = arrays.get("landmark_errors"), arrays.get("confidence")
    quality = np.where(seen, 1.0, 0.0)
    if errors is not None and np.ptp(errors[seen]) > 0:
        told[ERROR] = 100.0 * np.where(seen, errors, LOST)
        quality = np.minimum(quality, np.clip(1 - (errors - _USUAL) / (_BAD - _USUAL), 0.0, 1.0))
    if confidence is not None and np.ptp(confidence[seen]) > 0:
        told[CONFIDENCE] = np.where(seen, confidence, 0.0)
        quality = np.minimum(quality, confidence)
    if not told:
        return {}
    regions = list(performance.meta.get("regions") or [])
    values = arrays.get("region_confidence")
    if values is not None and values.shape[1] == len(regions):
        for region, column in zip(regions, values.T, strict=True):
            told[region_property(str(region))] = np.where(seen, column, 0.0)
    return {QUALITY: quality, **told}


def _watched(name: str) -> str:
    """The part of the face whose confidence a custom property is, "" for others."""
    part = name.removeprefix(region_property("")).replace("_", " ")
    return part if name.startswith(region_property("")) and part in WATCHED else ""


def _is_ours(name: str) -> bool:
    return name in _DESCRIPTIONS or name.startswith(region_property(""))


def _name(fcurve: bpy.types.FCurve) -> str:
    """The custom property that a curve moves."""
    return str(fcurve.data_path.removeprefix('["').removesuffix('"]'))


def _path(name: str) -> str:
    return f'["{bpy.utils.escape_identifier(name)}"]'
