# SPDX-License-Identifier: Apache-2.0
"""Another person's performance as the avatar's person would give it: relative to each one's neutral face, steadied
and stronger or weaker by region. Where the head is, is retarget.py's business.

What a tracker calls a coefficient of 0.3 is for one person a smile and for another the resting mouth: played as it is,
the driver's resting face is put over the avatar's. So what counts is how far the driver's face is from the driver's
neutral, and that is added to the avatar's. Lids are the exception: open and closed are ends, not amounts, and an eye
that closes has to close.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from blendsplat.avatars.retarget import mean_rotation
from blendsplat.errors import InputError
from blendsplat.geometry import matrix_to_rotvec
from blendsplat.heads.face_motions import FaceMotions
from blendsplat.heads.face_regions import REGIONS, expression_parts
from blendsplat.heads.model import HeadModel
from blendsplat.heads.neutral import Neutral
from blendsplat.heads.one_euro import OneEuro, smoothed, smoothed_rotations
from blendsplat.heads.performance import Performance, shown_frames

TURN = 0.3  # radians: one movement of jaw, eyes and head, to the filter's beta
STEP = 0.1  # metres: one movement of where the head is
STEEPEST = 2.0  # how many times faster than the driver's an avatar's lid may move
_LIDS = ("eyeBlinkLeft", "eyeBlinkRight")


@dataclass(frozen=True)
class Reenactment:
    """relative: to each person's neutral face. smooth, lively: OneEuro's seconds and beta. The others: gains of the
    regions, 1: as the driver does it, 0: not at all."""

    relative: bool = True
    smooth: float = 0.0
    lively: float = 1.0
    mouth: float = 1.0
    eyes: float = 1.0
    brows: float = 1.0
    head: float = 1.0


def neutral_of(performance: Performance, head: HeadModel) -> Neutral | None:
    """The neutral face of a performance of ``head``'s model; None where it has too few frames with a face to tell."""
    p, rows = performance, performance.valid
    motions = FaceMotions.of(head)
    return Neutral.of(p.expression[rows], p.jaw_pose[rows], p.eyes_pose[rows], p.eyelids[rows], motions)


def distance_at_rest(played: Performance, head: HeadModel, neutral: Neutral) -> float:
    """How far what is played lies from the avatar's neutral face when it is quietest: root mean square over the head's
    vertices in metres, the tenth percentile over the frames that show a face. What is left of the driver."""
    rows, sizes = played.valid, FaceMotions.of(head).sizes
    faces = np.concatenate([played.expression[rows], played.jaw_pose[rows]], 1)
    apart = (faces - np.concatenate([neutral.expression, neutral.jaw_pose])) @ sizes
    return float(np.quantile(np.linalg.norm(apart, axis=1), 0.1))


def reenacted(
    performance: Performance, head: HeadModel, neutral: Neutral | None, how: Reenactment, own: bool = False
) -> Performance:
    """``performance``, of ``head``'s model, for an avatar whose own neutral face is ``neutral`` (None: unknown).

    own: it is the avatar's own clip's, and its neutral is the avatar's. Where one of the two neutrals is unknown, the
    face keeps what it did, and gains count from the neutral that is known, or the head's rest. Without anything to do
    the very performance comes back. Raises InputError for one that shows no face.
    """
    if not performance.valid.any():
        raise InputError("The performance shows a face in none of its frames; track the clip again.")
    steady = _steadied(performance, how)
    driver = neutral if own else neutral_of(performance, head)
    base = driver or neutral or _rest(head)
    goal = neutral if how.relative and neutral is not None and driver is not None else base
    expression, jaw = _Face.of(head, how).carried(steady, base, goal)
    root, neck, translation = _moved_head(steady, how.head)
    changed = replace(
        steady,
        expression=expression,
        jaw_pose=jaw,
        eyes_pose=_turned(steady.eyes_pose, base.eyes_pose, goal.eyes_pose, how.eyes),
        eyelids=_lids(steady.eyelids, base.eyelids, goal.eyelids, how.eyes),
        root_pose=root,
        neck_pose=neck,
        translation=translation,
    )
    same = all(
        np.array_equal(getattr(changed, name), getattr(performance, name))
        for name in ("expression", "jaw_pose", "eyes_pose", "eyelids", "root_pose", "neck_pose", "translation")
    )
    return performance if same else replace(changed, part_of=performance.identity if own else "")


def _rest(head: HeadModel) -> Neutral:
    zeros = np.zeros(3, np.float32)
    return Neutral(np.zeros(head.expression_count, np.float32), zeros, np.stack([zeros] * 2), zeros[:2])


def _steadied(performance: Performance, how: Reenactment) -> Performance:
    """With expression and poses filtered over the frames that show a face; the others hold what their neighbour has."""
    if how.smooth <= 0:
        return performance
    p, rows = performance, np.flatnonzero(performance.valid)
    times = p.timestamps[rows]
    back = np.searchsorted(rows, shown_frames(p))
    plain, turns = OneEuro(how.smooth, how.lively), OneEuro(how.smooth, how.lively, TURN)
    expression = np.concatenate([p.expression, p.eyelids], 1)[rows]
    expression = smoothed(expression, times, plain)[back]
    poses = np.concatenate([p.root_pose[:, None], p.neck_pose[:, None], p.jaw_pose[:, None], p.eyes_pose], 1)[rows]
    poses = smoothed_rotations(poses, times, turns)[back]
    return replace(
        p, expression=expression[:, :-2], eyelids=expression[:, -2:], root_pose=poses[:, 0], neck_pose=poses[:, 1],
        jaw_pose=poses[:, 2], eyes_pose=poses[:, 3:],
        translation=smoothed(p.translation[rows], times, OneEuro(how.smooth, how.lively, STEP))[back],
    )  # fmt: skip


@dataclass
class _Face:
    """mixed: matrix [E,E] of the regions' gains, None where all are 1; blinks: columns of the expressions that are
    lids; bounds: the head's range."""

    head: HeadModel
    how: Reenactment
    mixed: np.ndarray | None
    blinks: list[int]
    bounds: tuple[float, float]

    @classmethod
    def of(cls, head: HeadModel, how: Reenactment) -> _Face:
        gains = {region: float(getattr(how, region)) for region in REGIONS}
        mixed = None
        if any(gain != 1 for gain in gains.values()):
            mixed = sum((gains[region] * part for region, part in expression_parts(head).items()), np.zeros(()))
        blinks = [head.expression_names.index(name) for name in _LIDS if name in head.expression_names]
        return cls(head, how, mixed, blinks, head.expression_range)

    def carried(self, performance: Performance, base: Neutral, goal: Neutral) -> tuple[np.ndarray, np.ndarray]:
        """Expression [F,E] and jaw [F,3] about ``base`` -> about ``goal``, within the head's range or what the driver
        did. What of the lips' opening is lost beyond the range, the jaw makes up for: a tracker sees some people at
        rest with an open jaw and mouthClose, and of a frame without mouthClose only the jaw's half could be taken."""
        values, jaw = performance.expression, performance.jaw_pose
        about, to = base.expression, goal.expression
        jaw = _turned(jaw, base.jaw_pose, goal.jaw_pose, self.how.mouth)
        moved = values + (to - about) if self.mixed is None else to + (values - about) @ self.mixed.T
        low, high = (np.minimum(self.bounds[0], values.min(0)), np.maximum(self.bounds[1], values.max(0)))
        kept = np.clip(moved, low, high)
        if (kept != moved).any():
            motions = FaceMotions.of(self.head)
            opener, extra = motions.opener, (moved - kept) @ motions.opening[:-3]
            if opener == len(about):
                jaw = jaw + np.outer(extra / motions.opening[opener], [1, 0, 0]).astype(np.float32)
            elif opener >= 0:
                opened = kept[:, opener] + extra / motions.opening[opener]
                kept[:, opener] = np.clip(opened, low[opener], high[opener])
        columns = self.blinks
        kept[:, columns] = _lids(values[:, columns], about[columns], to[columns], self.how.eyes)
        return kept.astype(np.float32), jaw


def _lids(values: np.ndarray, base: np.ndarray, goal: np.ndarray, gain: float) -> np.ndarray:
    """Lids [F,L] about ``base`` [L] -> about ``goal`` [L]: shut stays shut, wide open stays wide open."""
    base, goal = (np.clip(part.astype(np.float64), 0, 1) for part in (base, goal))
    up = np.minimum((1 - goal) / np.maximum(1 - base, 1e-6), STEEPEST)
    down = np.minimum(goal / np.maximum(base, 1e-6), STEEPEST)
    change = values - base
    moved = np.where(base == goal, change, change * np.where(change > 0, up, down))
    if gain == 1 and (base == goal).all():
        return values
    low, high = np.minimum(0, values.min(0, initial=0)), np.maximum(1, values.max(0, initial=1))
    return np.clip(goal + gain * moved, low, high).astype(np.float32)


def _turned(poses: np.ndarray, base: np.ndarray, goal: np.ndarray, gain: float) -> np.ndarray:
    """Rotation vectors [F,...,3] about ``base`` [...,3] -> as far about ``goal``, times ``gain``."""
    if gain == 1 and np.array_equal(base, goal):
        return poses
    given, start, end = (Rotation.from_rotvec(np.broadcast_to(part, poses.shape).reshape(-1, 3).astype(np.float64))
                         for part in (poses, base, goal))  # fmt: skip
    away = (start.inv() * given).as_rotvec()
    turned = (end * Rotation.from_rotvec(gain * away)).as_rotvec()
    return turned.reshape(poses.shape).astype(np.float32)


def _moved_head(performance: Performance, gain: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Root pose, neck pose, translation [F,3] ``gain`` times as far from where the head is on average, which is what
    retarget.py goes by as well."""
    p = performance
    if gain == 1:
        return p.root_pose, p.neck_pose, p.translation
    middle = p.translation[p.valid].mean(0)
    poses = []
    for pose in (p.root_pose, p.neck_pose):
        matrices = torch.from_numpy(Rotation.from_rotvec(pose[p.valid].astype(np.float64)).as_matrix())
        mean = matrix_to_rotvec(mean_rotation(matrices)[None])[0].numpy()
        poses.append(_turned(pose, mean, mean, gain))
    return poses[0], poses[1], (middle + gain * (p.translation - middle)).astype(np.float32)
