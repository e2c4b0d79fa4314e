# SPDX-License-Identifier: Apache-2.0
"""From landmarks of a clip to its Performance, in the order that converges: rough poses, then shape and focal length
over a few dozen spread frames, then every frame on its own, then all frames together with temporal terms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.errors import NoFaceError
from blendsplat.fitting.clip_performance import FittedFrames, clip_performance
from blendsplat.fitting.face_prior import FacePrior
from blendsplat.fitting.fit_options import SHARED_BIAS, FitOptions
from blendsplat.fitting.frame_problem import (
    LOST,
    Observations,
    fit_poses,
    frame_problem,
    landmark_errors,
    observe,
    one_thread,
    reweighted,
    start_from_rough_pose,
)
from blendsplat.fitting.initial_poses import segments_of, shot_cuts
from blendsplat.fitting.landmark_model import EXPRESSION, JAW, LandmarkModel, restrict_to_landmarks
from blendsplat.fitting.person_fit import Person, fit_person
from blendsplat.fitting.shot_identity import note_on_others, runs_of_others
from blendsplat.fitting.silhouette import Mattes
from blendsplat.fitting.skin_border import Borders
from blendsplat.fitting.solver import Problem, fit_frames
from blendsplat.fitting.temporal import fit_together, make_smoothness, usual_stiffness
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts
from blendsplat.progress import Progress

__all__ = ["SHARED_BIAS", "FitOptions", "fit_clip"]

SHAPE_DIRECTIONS = 100  # more than this the landmarks of one person cannot tell apart
TORSO_TURN = np.radians(12.0)  # a median head turn beyond this is the torso's


def fit_clip(
    head: HeadModel,
    pixels: np.ndarray,
    found: np.ndarray,
    timestamps: np.ndarray,
    width: int,
    height: int,
    options: FitOptions | None = None,
    head_source: str = "human",
    progress: Progress | None = None,
    shots: np.ndarray | None = None,
    mattes: Mattes | None = None,
    borders: Borders | None = None,
) -> Performance:
    """Fit ``head`` to landmarks [F,478,2] (pixels of width x height images), found [F] bool, timestamps [F] seconds.

    shots: frames at which a shot is known to begin; jumps of the face are found here too. mattes: the person's matte
    (uint8 [H,W]) by frame, which keeps the shape's skull, ears and neck inside. borders: where bare skin ends, by
    frame, which draws cheeks, jaw and ears out to there (options.border says the same of all frames at once).
    Raises NoFaceError when no frame shows a face.
    """
    options, progress = options or FitOptions(), progress or Progress()
    found = found & np.isfinite(pixels).all((1, 2))
    if not found.any():
        raise NoFaceError(
            "No face was found in any frame of the clip. Trim or crop it so that one face is large and lit."
        )
    shown = np.flatnonzero(found)
    model = restrict_to_landmarks(head, SHAPE_DIRECTIONS)
    seen = observe(model, pixels[shown].astype(np.float64), shown)
    cuts = np.zeros(len(found), bool)
    cuts[np.asarray([] if shots is None else shots, int)] = True
    with one_thread():
        problem, unknowns = _start(head, model, seen, width, height, options)
        unshaped = problem
        progress.update("fit", 0, 2, "shape and focal length")
        person = fit_person(head, problem, unknowns, seen, options, mattes, borders)
        progress.check()
        progress.update("fit", 1, 2, "every frame")
        frames = _fit_all(head, person, seen, cuts, pixels, timestamps, options)
        unshaped = replace(unshaped, focal=frames.problem.focal, weights=frames.problem.weights)
        others = runs_of_others(unshaped, frames.unknowns, frames.segments[shown], SHARED_BIAS)
    progress.update("fit", 2, 2)
    notes = [int(np.flatnonzero(frames.segments == run)[0]) for run in others]
    return replace(
        clip_performance(head, head_source, person, frames, timestamps, (width, height)),
        notes=(note_on_others(notes),) if others else (),
    )


def _start(
    head: HeadModel, model: LandmarkModel, seen: Observations, width: int, height: int, options: FitOptions
) -> tuple[Problem, Tensor]:
    """The problem of all shown frames, and unknowns [B,P] from the rough poses."""
    span = options.view_pixels or max(width, height)
    focal = options.focal or span / 2 / np.tan(np.radians(options.field_of_view or 28.0) / 2)
    centre = np.array(options.centre or (width / 2, height / 2))
    root, mean = _torso(seen.rotations), expected_unknowns(model, options.prior, seen.rows)
    unknowns = start_from_rough_pose(model, seen, root, focal, centre, mean)
    problem = frame_problem(head, model, seen, root, focal, centre, mean, options.expression_sigma)
    return reweighted(problem, seen, unknowns), unknowns


def expected_unknowns(model: LandmarkModel, prior: FacePrior | None, rows: np.ndarray) -> Tensor:
    """[B,P]: what is expected of the frames ``rows`` before their landmarks are looked at."""
    mean = torch.zeros(len(rows), model.parameter_count)
    if prior is not None:
        expression = torch.as_tensor(prior.expression[rows], dtype=torch.float32)
        mean[:, EXPRESSION.start : EXPRESSION.start + expression.shape[1]] = expression
        mean[:, JAW] = torch.as_tensor(prior.jaw_pose[rows], dtype=torch.float32)
    return mean


def _torso(rotations: np.ndarray) -> Tensor:
    """Rotation vector [3] of the torso: upright, turned by what the median head turn exceeds a usual one."""
    yaw = float(np.median(np.arctan2(rotations[:, 0, 2], rotations[:, 2, 2])))
    return torch.tensor([0.0, np.sign(yaw) * max(abs(yaw) - TORSO_TURN, 0.0), 0.0], dtype=torch.float32)


def _fit_all(
    head: HeadModel,
    person: Person,
    seen: Observations,
    cuts: np.ndarray,
    pixels: np.ndarray,
    timestamps: np.ndarray,
    options: FitOptions,
) -> FittedFrames:
    """Every frame by itself, then all together."""
    problem, unknowns, shown = person.problem, person.unknowns, seen.rows
    everything = torch.ones(unknowns.shape[1], dtype=torch.bool)
    telling = torch.as_tensor(pts.telling_points())
    unknowns = fit_poses(problem.landmarks(telling), unknowns, 4)
    problem = reweighted(problem, seen, unknowns)
    unknowns, _ = fit_frames(problem.landmarks(telling), unknowns, everything, 4)
    problem = reweighted(problem, seen, unknowns)

    good = landmark_errors(problem, unknowns, seen.eye_distance) < LOST
    if not good.any():
        raise NoFaceError(
            "Faces were detected, but none could be fitted. Check that the clip shows a person's face, upright."
        )
    valid = np.zeros(len(cuts), bool)
    valid[shown[good]] = True
    eye_distance = np.ones(len(cuts))
    eye_distance[shown] = seen.eye_distance
    segments = segments_of(valid, cuts | shot_cuts(pixels, valid, eye_distance), timestamps)
    if options.smoothing > 0:
        smooth = make_smoothness(
            segments[shown], timestamps[shown], usual_stiffness(head.expression_names, options.smoothing)
        )
        unknowns = fit_together(problem.landmarks(telling), unknowns, torch.as_tensor(good), everything, smooth)
    return FittedFrames(problem, unknowns, seen, valid, segments)
