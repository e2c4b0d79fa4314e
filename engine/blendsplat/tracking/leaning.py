# SPDX-License-Identifier: Apache-2.0
"""What a covered part of the face does: led by the frames before and after in which the picture confirms it.

Behind a hand the landmarks guess a mouth, and with it the jaw and the cheeks. Expressions are not local, so no
coefficient belongs to the mouth. Least squares over the face's surface samples tell which change of the coefficients
moves the covered region as the interpolation between its sure frames does and leaves the other regions where they are.
The other half of the face is held firmly (a blink above a covered mouth stays), the skin beside the region hardly:
cheeks and chin are plain, so pictures confirm them beside a mouth that gapes by a centimetre, and held they would keep
it so.

What is doubted is a part against the rest of its face: blur and fades doubt all of it at once, say nothing of where the
covered part is, and leave landmarks readable, so they lead nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, without_lost
from blendsplat.refinement.refine_options import RefineOptions
from blendsplat.refinement.regions import REGIONS, regions_of_samples
from blendsplat.refinement.surface_samples import spread_samples
from blendsplat.tracking.doubts import DOUBTED, WATCHED, region_shares

STEP = 0.01  # radians by which the jaw is turned to see what it moves
FIRM = 0.001  # of a direction's own energy, for its change: directions that do nearly the same share it
HARDLY = 0.03  # of a sample's weight: skin beside what is covered
COVERED = 0.1  # confidence up to which a region is led altogether
SEEN = 0.75  # of the regions, from below: what a face counts where nothing covers it; a box may lie over five of eight
NOTHING = 1e-12  # square metres: a direction that moves no sample
_EYES = tuple(REGIONS.index(name) for name in ("left eye", "right eye"))
HALVES = tuple(
    np.array([REGIONS.index(name) for name in half])
    for half in (("mouth", "chin", "nose", "left cheek", "right cheek"), ("left eye", "right eye", "forehead"))
)
_FACE = [REGIONS.index(name) for name in WATCHED]


def lean(
    parameters: np.ndarray, doubt: np.ndarray, energies: np.ndarray, sure: np.ndarray, times: np.ndarray,
    halves: Sequence[np.ndarray] = HALVES,
) -> np.ndarray:  # fmt: skip
    """parameters [F,K] of frames at ``times`` [F], moved in proportion to the doubt [F,R] of R regions towards the
    nearest frames that are ``sure`` [F,R], between which they run straight; before the first and after the last of them
    they stay. energies [R,K,K]: products of the parameters' directions over each region's samples; halves: indices of
    regions that move together. Frames without doubt are the same bits; so is all where no frame is sure of a region."""
    moved = parameters.copy()
    known = [np.flatnonzero(column) for column in sure.T]
    doubt = np.where([len(frames) > 0 for frames in known], doubt, 0)
    rows = np.flatnonzero(doubt.any(1))
    pulled = np.zeros((len(rows), parameters.shape[1]))
    for region in np.flatnonzero(doubt.any(0)):
        change = _between(parameters, known[region], times)[rows] - parameters[rows]
        pulled += doubt[rows, region, None] * (change @ energies[region])
    whole = np.diag(energies.sum(0))
    for row, pull in zip(rows, pulled, strict=True):
        weights = doubt[row] + (1 - doubt[row]) * _held(doubt[row], halves)
        system = np.tensordot(weights, energies, 1) + np.diag(FIRM * whole + NOTHING)
        moved[row] += np.linalg.solve(system, pull)
    return moved


def _held(doubt: np.ndarray, halves: Sequence[np.ndarray]) -> np.ndarray:
    """[R]: how firmly regions of a frame with ``doubt`` [R] are held where they are."""
    held = np.full(len(doubt), HARDLY)  # hair and neck move by themselves
    for half in halves:
        held[half] = 1 - (1 - HARDLY) * doubt[half].max()
    return held


def energies(head: HeadModel) -> np.ndarray:
    """[R,K,K] square metres, for lean; K: expressions, jaw (3), lids (2)."""
    samples = spread_samples(head, RefineOptions().samples)
    turned = head.neutral(3)
    turned.jaw_pose = STEP * torch.eye(3)
    jaw = (head(turned) - head(head.neutral())) / STEP
    directions = torch.cat([head.expression_directions, jaw, head.eyelid_directions])
    moves = samples.at(directions).double().numpy()  # [K,N,3]
    region = regions_of_samples(head, samples)
    parts = [moves[:, region == number].reshape(len(moves), -1) for number in range(len(REGIONS))]
    return np.stack([part @ part.T for part in parts])


def local_doubts(tracking: Performance) -> np.ndarray | None:
    """[F,R] 0 to 1: regions whose pixels count nothing while the rest of their face is seen; None where there are none,
    or nobody knows. Half a doubt is none: blinks and grimaces go down to a confidence of .3, and are not to be lost."""
    shares = region_shares(tracking)
    if shares is None:
        return None
    doubt = np.zeros((tracking.frame_count, len(REGIONS)))
    seen = np.quantile(shares[:, _FACE], SEEN, axis=1, keepdims=True)
    covered = np.clip((DOUBTED - tracking.region_confidence[:, _FACE]) / (DOUBTED - COVERED), 0, 1)
    doubt[:, _FACE] = covered * seen * (shares[:, _FACE] < 1)
    return doubt if doubt.any() else None


def leaned(head: HeadModel, tracking: Performance, shots: np.ndarray) -> Performance:
    """``tracking`` whose covered regions follow the sure frames of their shot; ``shots``: frames at which one begins.
    Pose, frames without doubt and what is doubted in most of the frames stay."""
    doubt = local_doubts(tracking)
    if doubt is None:
        return tracking
    shares = region_shares(tracking)
    assert shares is not None  # local_doubts has asked
    sure = (shares[:, : len(REGIONS)] >= 1) & tracking.valid[:, None]
    face = np.concatenate([tracking.expression, tracking.jaw_pose, tracking.eyelids], 1).astype(np.float64)
    gaze, moves = tracking.eyes_pose.astype(np.float64), energies(head)
    shot = np.searchsorted(shots, np.arange(tracking.frame_count), side="right")
    for rows in (np.flatnonzero(shot == number) for number in np.unique(shot)):
        times = tracking.timestamps[rows]
        face[rows] = lean(face[rows], doubt[rows], moves, sure[rows], times)
        gaze[rows] = _lean_gaze(gaze[rows], doubt[rows][:, _EYES], sure[rows][:, _EYES], times)
    moved, count = doubt.any(1), tracking.expression.shape[1]
    return without_lost(
        replace(
            tracking,
            figures=tracking.figures | {"frames_leaned": int(moved.sum())},
            expression=_taken(tracking.expression, face[:, :count].clip(*_reach(head, tracking.expression)), moved),
            jaw_pose=_taken(tracking.jaw_pose, face[:, count : count + 3], moved),
            eyelids=_taken(tracking.eyelids, face[:, count + 3 :].clip(0, 1), moved),
            eyes_pose=_taken(tracking.eyes_pose, gaze, moved),
        )
    )


def _lean_gaze(gaze: np.ndarray, doubt: np.ndarray, sure: np.ndarray, times: np.ndarray) -> np.ndarray:
    """gaze [F,2,3] with doubt and sure [F,2] of the eyes. People look with both: a covered eye looks where the other
    does, at the angle that the two have in sure frames, and only where both are covered as they did before and after.
    """
    known = np.flatnonzero(sure.all(1))
    if not len(known):
        return gaze
    both = doubt.min(1)
    led = gaze + both[:, None, None] * (_between(gaze, known, times) - gaze)
    for eye in (0, 1):
        apart = gaze[:, eye] - gaze[:, 1 - eye]
        wanted = led[:, 1 - eye] + _between(apart, known, times)
        led[:, eye] += (doubt[:, eye] - both)[:, None] * (wanted - led[:, eye])
    return led


def _between(values: np.ndarray, known: np.ndarray, times: np.ndarray) -> np.ndarray:
    """values [F,...] that run straight between the frames ``known``, and stay before and after them."""
    flat = values.reshape(len(values), -1)
    between = np.stack([np.interp(times, times[known], column[known]) for column in flat.T], 1)
    return between.reshape(values.shape)


def _reach(head: HeadModel, expression: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[E] each: the least and most that a coefficient may be: what the head allows, or the tracking has."""
    low, high = head.expression_range
    return np.minimum(expression.min(0), low), np.maximum(expression.max(0), high)


def _taken(before: np.ndarray, after: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """``before`` [F,...] with the frames ``moved`` [F] of ``after``."""
    taken = before.copy()
    taken[moved] = after[moved]
    return taken
