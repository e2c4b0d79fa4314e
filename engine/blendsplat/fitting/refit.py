# SPDX-License-Identifier: Apache-2.0
"""A fitted clip fitted again around frames that an artist corrected: the person, the focal length and all frames that
are farther away stay as they are.

The result is a function of the uncorrected performance and the corrections alone, so corrections add up in any order
and one that is forgotten leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.fitting.clip_performance import nearest_valid
from blendsplat.fitting.corrections import Corrections
from blendsplat.fitting.frame_problem import (
    eyes_pose,
    frame_problem,
    landmark_errors,
    observe,
    one_thread,
    reweighted,
)
from blendsplat.fitting.held_frames import HeldFrames, hold_frames
from blendsplat.fitting.initial_poses import clip_runs
from blendsplat.fitting.landmark_model import (
    DEPTH,
    EXPRESSION,
    EYELIDS,
    JAW,
    NECK,
    TRANSLATION,
    pack,
    restrict_to_landmarks,
)
from blendsplat.fitting.solver import NOISE, Problem
from blendsplat.fitting.temporal import Smoothness, fit_together, make_smoothness, usual_stiffness
from blendsplat.fitting.zoom import without_zoom
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts

ROUNDS = 4
_CONTEXT = 2  # frames beside those that move, to which the smoothness ties them


@dataclass
class Refit:
    """The frames ``rows`` [B] of a clip whose ``free`` [B] ones are to be fitted again: a problem (held as the artist
    said) and where it starts [B,P]. Translations are the solver's: the camera is at the origin."""

    rows: np.ndarray
    problem: Problem
    start: Tensor
    free: Tensor  # [B] bool
    smooth: Smoothness
    eye_distance: np.ndarray  # [B] pixels
    seen: np.ndarray  # [B] bool: the detector found a face


Finish = Callable[[Refit, Tensor], Tensor]  # what refines the fitted unknowns [B,P] further, still held


def refit(
    head: HeadModel, performance: Performance, points: np.ndarray, found: np.ndarray, corrections: Corrections,
    shots: np.ndarray | None = None, finish: Finish | None = None,
) -> Performance:  # fmt: skip
    """``performance`` (uncorrected) with its corrected frames where the artist put them, and those around following.

    points [F,478,2] pixels, found [F]: the clip's landmarks; shots: frames at which one is known to begin. A frame
    without landmarks is what the artist says, and is valid from then on. Raises InputError (another clip's or head's).
    """
    corrections.check(performance)
    if not len(corrections):
        return performance
    with one_thread():
        work = prepare(head, performance, points, found, corrections, shots)
        telling = work.problem.landmarks(torch.as_tensor(pts.telling_points()))
        everything = torch.ones(work.start.shape[1], dtype=torch.bool)
        unknowns = fit_together(telling, work.start, work.free, everything, work.smooth, ROUNDS)
    if finish is not None:
        unknowns = finish(work, unknowns)
    return _with_frames(performance, work, unknowns, len(corrections))


def prepare(
    head: HeadModel, performance: Performance, points: np.ndarray, found: np.ndarray, corrections: Corrections,
    shots: np.ndarray | None = None,
) -> Refit:  # fmt: skip
    """What refit solves."""
    frames = corrections.frames
    valid = performance.valid.copy()
    valid[frames] = True
    found = found & np.isfinite(points).all((1, 2))
    person = head.personalise(torch.as_tensor(performance.shape), torch.as_tensor(performance.vertex_offsets))
    model = restrict_to_landmarks(person, 0)
    pixels = without_zoom(points.astype(np.float64), performance.zoom, performance.K[:2, 2])
    if not found.any():
        raise InputError("The clip has no landmarks in any frame: track it again before its frames are corrected.")
    pixels = pixels[nearest_valid(found)]
    segments = clip_runs(pixels, valid, performance.timestamps, shots)
    held = _held(performance, corrections, segments, found)

    rows = np.flatnonzero(np.convolve(held.near, np.ones(2 * _CONTEXT + 1), "same") > 0)
    rows = rows[valid[rows]]
    observed = observe(model, pixels[rows], rows)
    start = held.start[torch.as_tensor(rows)]
    root, centre = torch.as_tensor(performance.root_pose[rows[0]]), performance.K[:2, 2].astype(np.float64)
    mean = torch.zeros_like(start)
    problem = frame_problem(head, model, observed, root, float(performance.K[0, 0]), centre, mean, None)
    problem = reweighted(problem, observed, start)
    trust = found[rows] * _trust(problem, _present(performance)[torch.as_tensor(rows)], start, observed.eye_distance)
    problem = replace(
        problem, weights=problem.weights * torch.as_tensor(trust, dtype=torch.float32)[:, None],
        held=held.held[torch.as_tensor(rows)], hold=held.hold[torch.as_tensor(rows)],
    )  # fmt: skip
    apart = np.cumsum(np.diff(rows, prepend=rows[0]) > 1)  # frames between which others were left out
    runs = segments[rows] * (len(rows) + 1) + apart
    smooth = make_smoothness(runs, performance.timestamps[rows], usual_stiffness(head.expression_names))
    free = torch.as_tensor(held.near[rows])
    return Refit(rows, problem, start, free, smooth, observed.eye_distance, found[rows])


def _held(performance: Performance, corrections: Corrections, segments: np.ndarray, found: np.ndarray) -> HeldFrames:
    frames = corrections.frames
    moved = corrections.moved()
    moved |= ~(found & performance.valid)[frames, None]  # of what nobody has seen, only the artist knows
    return hold_frames(
        _present(performance), frames, corrections.unknowns(performance), moved, segments, performance.timestamps,
        performance.expression_names or ("",) * performance.expression.shape[1], performance.valid[frames],
    )  # fmt: skip


def _present(performance: Performance) -> Tensor:
    """[F,P]: the performance as the solver counts."""
    present = pack(performance.params())
    present[:, DEPTH] -= float(performance.viewmat[2, 3])
    return present


def _trust(problem: Problem, present: Tensor, start: Tensor, eye_distance: np.ndarray) -> np.ndarray:
    """[B] 0 to 1: what landmarks count where the artist's head contradicts them, which would bend the face to them."""
    before = np.maximum(landmark_errors(problem, present, eye_distance), NOISE)
    after = landmark_errors(problem, start, eye_distance)
    return np.minimum(before / np.maximum(after, 1e-6), 1.0) ** 2


def _with_frames(performance: Performance, work: Refit, unknowns: Tensor, count: int) -> Performance:
    """The performance with the fitted frames' numbers."""
    free = work.free.numpy()
    rows = work.rows[free]
    moved = unknowns.clone()
    moved[:, DEPTH] += float(performance.viewmat[2, 3])
    values = moved.numpy()[free]
    numbers = {
        "neck_pose": values[:, NECK], "translation": values[:, TRANSLATION], "jaw_pose": values[:, JAW],
        "eyes_pose": eyes_pose(values), "eyelids": values[:, EYELIDS], "expression": values[:, EXPRESSION],
    }  # fmt: skip
    arrays = {name: getattr(performance, name).copy() for name in (*numbers, "valid", "landmark_errors")}
    for name, new in numbers.items():
        arrays[name][rows] = new
    arrays["valid"][rows] = True
    errors = landmark_errors(work.problem, unknowns, work.eye_distance)
    told = free & work.seen & performance.landmark_errors.any()  # an older tracking tells none of any frame
    arrays["landmark_errors"][work.rows[told]] = errors[told]
    source = nearest_valid(arrays["valid"])  # a frame without a face has the nearest one's numbers
    for name in numbers:
        arrays[name] = arrays[name][source]
    faces = int(arrays["valid"].sum())
    figures = {"frames_with_face": faces, "frames_without_face": len(source) - faces, "corrected_frames": count}
    return replace(performance, **arrays, figures=performance.figures | figures)
