# SPDX-License-Identifier: GPL-3.0-or-later
"""Another person's performance as the avatar's person would give it, as the engine's avatars/reenact.py: from neutral
face to neutral face, stronger or weaker by region, steadied. Where the head is held, is retarget.py's business."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..formats import FileError, Performance
from ..space import matrix_to_rotvec, rotvec_to_matrix
from . import acting_offsets, performance_parts
from .acting_offsets import NOTHING_ADDED, Offsets
from .neutral_face import NUMBERS, Face, Neutral, region_of
from .one_euro import OneEuro, smoothed, smoothed_rotations
from .punch_in import Window
from .retarget import mean_rotation

TURN, STEP = 0.3, 0.1  # radians, metres: one movement, to the filter
UNSMOOTHED = 1e-6  # seconds of the filter
STEEPEST = 2.0  # times faster than the driver's an avatar's lid may move
LIDS = ("eyeBlinkLeft", "eyeBlinkRight")
UNKNOWN = (
    "The avatar's file does not say what its neutral face is, so the performance plays as it was tracked: train the "
    "avatar again for that."
)
SHORT = "The performance is too short to tell a neutral face from an expression, so it plays as it was tracked."


@dataclass(frozen=True)
class Acting:
    """relative: to each person's neutral face. smooth in seconds, lively: of the filter; steady_...: how many times as
    long a region is smoothed. mouth, ...: strength. offsets: what is added. part: what is played. window: when."""

    relative: bool = True
    smooth: float = 0.0
    lively: float = 1.0
    mouth: float = 1.0
    eyes: float = 1.0
    brows: float = 1.0
    head: float = 1.0
    steady_mouth: float = 1.0
    steady_eyes: float = 1.0
    steady_brows: float = 1.0
    steady_head: float = 1.0
    offsets: Offsets = NOTHING_ADDED
    part: str = performance_parts.BOTH
    window: Window | None = None

    def seconds(self, region: str) -> float:
        """Of the filter for a region; next to nothing where it is not smoothed."""
        return max(self.smooth * float(getattr(self, f"steady_{region}")), UNSMOOTHED)


def reenacted(
    performance: Performance, face: Face, acting: Acting, own: bool, driver: Neutral | None = None
) -> tuple[Performance, str]:
    """The performance, and what an artist is told of it. own: of the avatar's own clip, whose neutral is the avatar's.
    driver: the driver's neutral face, where it is known already.
    Without anything to do the very performance comes back. Raises FileError for one that shows no face."""
    if not len(performance.valid_rows):
        raise FileError(f"{performance.path} shows a face in none of its frames; track the clip again.")
    driver = driver or (face.neutral if own else face.neutral_of(performance))
    wanted = acting.relative and not own
    told = (UNKNOWN if face.neutral is None else SHORT if driver is None else "") if wanted else ""
    base = driver or face.neutral or _rest(len(face.names))
    goal = face.neutral if acting.relative and face.neutral is not None and driver is not None else base
    steady = _steadied(performance, acting, face.names)
    arrays = dict(steady)
    arrays["expression"], arrays["jaw_pose"] = _face(steady, face, acting, base, goal)
    arrays["eyes_pose"] = _turned(steady["eyes_pose"], base["eyes_pose"], goal["eyes_pose"], acting.eyes)
    arrays["eyelids"] = _lids(steady["eyelids"], base["eyelids"], goal["eyelids"], acting.eyes)
    arrays |= _moved_head(steady, performance.valid_rows, acting.head)
    arrays = acting_offsets.added(arrays, face, acting.offsets)
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    if all(np.array_equal(array, performance.arrays[name]) for name, array in arrays.items()):
        return performance, told
    return replace(performance, arrays=performance.arrays | arrays), told


def _rest(count: int) -> Neutral:
    return dict(zip(NUMBERS, (np.zeros(count), np.zeros(3), np.zeros((2, 3)), np.zeros(2)), strict=True))


def _steadied(performance: Performance, acting: Acting, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The moving arrays, filtered over the frames that show a face; the others hold what their neighbour has."""
    moving = ("expression", "eyelids", "root_pose", "neck_pose", "jaw_pose", "eyes_pose", "translation")
    p = {name: performance.arrays[name] for name in moving}
    rows = performance.valid_rows
    if acting.smooth <= 0 or len(rows) < 2:
        return p
    times, back = performance.timestamps[rows].astype(float), _nearest(rows, performance.frame_count)

    def by(unit: float, *regions: str) -> OneEuro:
        return OneEuro(np.array([acting.seconds(region) for region in regions]), acting.lively, unit)

    regions = [region_of(name) for name in names] + ["eyes"] * 2
    numbers = smoothed(np.concatenate([p["expression"], p["eyelids"]], 1)[rows], times, by(1.0, *regions))[back]
    turning = [p["root_pose"][:, None], p["neck_pose"][:, None], p["jaw_pose"][:, None], p["eyes_pose"]]
    by_turns = by(TURN, "head", "head", "mouth", "eyes", "eyes")
    by_turns = replace(by_turns, seconds=by_turns.seconds[:, None])
    turns = smoothed_rotations(np.concatenate(turning, 1)[rows], times, by_turns)[back]
    return {
        "expression": numbers[:, :-2], "eyelids": numbers[:, -2:], "root_pose": turns[:, 0], "neck_pose": turns[:, 1],
        "jaw_pose": turns[:, 2], "eyes_pose": turns[:, 3:],
        "translation": smoothed(p["translation"][rows], times, by(STEP, "head"))[back],
    }  # fmt: skip


def _nearest(rows: np.ndarray, frames: int) -> np.ndarray:
    """Which of the ``rows`` is nearest to each frame [F], the earlier of two."""
    every = np.arange(frames)
    after = np.clip(np.searchsorted(rows, every), 0, len(rows) - 1)
    before = np.clip(after - 1, 0, None)
    nearer = np.abs(rows[before] - every) <= np.abs(rows[after] - every)
    return np.where(rows[after] == every, after, np.where(nearer, before, after))


def _face(
    p: dict[str, np.ndarray], face: Face, acting: Acting, base: Neutral, goal: Neutral
) -> tuple[np.ndarray, np.ndarray]:
    """Expression [F,E] and jaw [F,3]. What of the lips' opening is lost to the head's range, the jaw makes up for."""
    values, about, to = p["expression"], base["expression"], goal["expression"]
    gains = {region: getattr(acting, region) for region in ("mouth", "eyes", "brows")}
    jaw = _turned(p["jaw_pose"], base["jaw_pose"], goal["jaw_pose"], acting.mouth)
    if all(gain == 1 for gain in gains.values()):
        moved = values + (to - about)
    else:
        moved = to + (values - about) @ sum(gains[region] * part for region, part in face.parts.items()).T
    low, high = np.minimum(face.bounds[0], values.min(0)), np.maximum(face.bounds[1], values.max(0))
    kept = np.clip(moved, low, high)
    if (kept != moved).any() and face.opener >= 0:
        extra = (moved - kept) @ face.opening[:-3] / face.opening[face.opener]
        if face.opener == len(about):
            jaw = jaw + np.outer(extra, [1, 0, 0])
        else:
            column = face.opener
            kept[:, column] = np.clip(kept[:, column] + extra, low[column], high[column])
    columns = [face.names.index(name) for name in LIDS if name in face.names]
    kept[:, columns] = _lids(values[:, columns], about[columns], to[columns], acting.eyes)
    return kept, jaw


def _lids(values: np.ndarray, base: np.ndarray, goal: np.ndarray, gain: float) -> np.ndarray:
    """Lids [F,L] about ``base`` [L] -> about ``goal`` [L]: shut stays shut, wide open stays wide open."""
    base, goal = (np.clip(np.asarray(part, float), 0, 1) for part in (base, goal))
    if gain == 1 and (base == goal).all():
        return values
    up = np.minimum((1 - goal) / np.maximum(1 - base, 1e-6), STEEPEST)
    down = np.minimum(goal / np.maximum(base, 1e-6), STEEPEST)
    change = values - base
    moved = np.where(base == goal, change, change * np.where(change > 0, up, down))
    low, high = np.minimum(0, values.min(0, initial=0)), np.maximum(1, values.max(0, initial=1))
    return np.clip(goal + gain * moved, low, high)


def _turned(poses: np.ndarray, base: np.ndarray, goal: np.ndarray, gain: float) -> np.ndarray:
    """Rotation vectors [F,...,3] about ``base`` [...,3] -> as far about ``goal``, times ``gain``."""
    if gain == 1 and np.array_equal(base, goal):
        return poses
    away = matrix_to_rotvec(np.swapaxes(rotvec_to_matrix(base), -1, -2) @ rotvec_to_matrix(poses))
    return matrix_to_rotvec(rotvec_to_matrix(goal) @ rotvec_to_matrix(gain * away))


def _moved_head(p: dict[str, np.ndarray], rows: np.ndarray, gain: float) -> dict[str, np.ndarray]:
    """Where the head is, ``gain`` times as far from where it is on average."""
    if gain == 1:
        return {}
    middle = p["translation"][rows].mean(0)
    moved = {"translation": middle + gain * (p["translation"] - middle)}
    for name in ("root_pose", "neck_pose"):
        mean = matrix_to_rotvec(mean_rotation(rotvec_to_matrix(p[name][rows])))
        moved[name] = _turned(p[name], mean, mean, gain)
    return moved
