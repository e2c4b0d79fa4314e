# SPDX-License-Identifier: Apache-2.0
"""The fit's unknowns as a Performance: one camera that stands still, every frame's numbers, and the fit's figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.frame_problem import Observations, eyes_pose, landmark_errors
from blendsplat.fitting.landmark_model import DEPTH, EXPRESSION, EYELIDS, JAW, NECK, TRANSLATION
from blendsplat.fitting.person_fit import Person
from blendsplat.fitting.solver import Problem
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance


@dataclass
class FittedFrames:
    """Unknowns [B,P] of the frames that were seen, valid [F] and the run of each frame [F] (-1: none) of the clip."""

    problem: Problem
    unknowns: Tensor
    seen: Observations
    valid: np.ndarray
    segments: np.ndarray


def clip_performance(
    head: HeadModel, head_source: str, person: Person, frames: FittedFrames, timestamps: np.ndarray,
    size: tuple[int, int],
) -> Performance:  # fmt: skip
    """The fitted clip of ``size`` (width, height), whose camera stands where the face's median distance puts it."""
    problem, unknowns, seen, valid = frames.problem, frames.unknowns, frames.seen, frames.valid
    good = valid[seen.rows]
    told = np.zeros(len(valid), np.float32)
    told[seen.rows] = landmark_errors(problem, unknowns, seen.eye_distance)
    errors = told[seen.rows][good]
    distance = float(-unknowns[torch.as_tensor(good), DEPTH].median())
    moved = unknowns.clone()
    moved[:, DEPTH] += distance
    nearest = nearest_valid(valid)
    row_of = np.zeros(len(valid), int)
    row_of[seen.rows] = np.arange(len(seen.rows))
    values = moved[torch.as_tensor(row_of[nearest])].numpy()
    K = np.eye(3, dtype=np.float32)
    K[0, 0] = K[1, 1] = float(problem.focal)
    K[:2, 2] = problem.centre.numpy()
    viewmat = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
    viewmat[2, 3] = distance
    return Performance(
        head=head.name,
        head_source=head_source,
        width=size[0],
        height=size[1],
        timestamps=np.asarray(timestamps, np.float64),
        valid=valid,
        shape=person.shape.numpy(),
        vertex_offsets=person.offsets.numpy(),
        expression=values[:, EXPRESSION],
        root_pose=np.repeat(problem.root.numpy()[None], len(valid), 0),
        neck_pose=values[:, NECK],
        jaw_pose=values[:, JAW],
        eyes_pose=eyes_pose(values),
        eyelids=values[:, EYELIDS],
        translation=values[:, TRANSLATION],
        K=K,
        viewmat=viewmat,
        expression_names=tuple(head.expression_names),
        head_model=head.model_id,
        head_family=head.family,
        landmark_errors=told,
        figures={
            "landmark_error": float(errors.mean()),  # of the distance between the eyes
            "landmark_error_worst": float(errors.max()),
            "frames_with_face": int(valid.sum()),
            "frames_without_face": int((~valid).sum()),
            "shots": int(frames.segments.max()) + 1,
            "field_of_view_degrees": float(np.degrees(2 * np.arctan(max(size) / 2 / K[0, 0]))),
        },
    )


def nearest_valid(valid: np.ndarray) -> np.ndarray:
    """[F] index of the nearest valid frame (the earlier one on a tie). Some frame must be valid."""
    good = np.flatnonzero(valid)
    after = np.searchsorted(good, np.arange(len(valid))).clip(0, len(good) - 1)
    before = (after - 1).clip(0)
    frames = np.arange(len(valid))
    return np.where(np.abs(good[before] - frames) <= np.abs(good[after] - frames), good[before], good[after])
