# SPDX-License-Identifier: Apache-2.0
"""A known person's face from one frame's landmarks at a time, causal and quick: for a camera that is running.

The same problem and solver as the clip's fit. A frame starts where the one before it was heading and is held near to
that, as much as faces usually leave their way in the time between; after a lost frame, a pause or a jump of the face it
starts from a rough pose. With Blendsplat's own head a frame takes about 8 ms of one core.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.fitting.frame_problem import (
    LOST,
    Observations,
    eyes_pose,
    fit_poses,
    frame_problem,
    landmark_errors,
    observe,
    one_thread,
    reweighted,
    start_from_rough_pose,
)
from blendsplat.fitting.initial_poses import GAP
from blendsplat.fitting.landmark_model import (
    DEPTH,
    EXPRESSION,
    EYELIDS,
    JAW,
    NECK,
    TRANSLATION,
    restrict_to_landmarks,
)
from blendsplat.fitting.solver import Problem, fit_frames
from blendsplat.fitting.temporal import REFERENCE_STEP, usual_stiffness
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts

JUMP = 0.5  # of the distance between the eyes: landmarks that miss the previous frame's head by more are another's
FOLLOWING, STARTING = 2, 4  # iterations from the previous frame, and from a rough pose
# A causal tie hears nothing of the frames to come, so it is this many times looser than the clip's smoothing. On made
# heads that turn quickly, 3 lags by three times the clip's error, 5 hardly, and from 10 on nothing is smoothed.
LOOSER = 5.0
NEWEST = 0.5  # share of the newest step in the speed at which a face is expected to go on


@dataclass(frozen=True)
class FrameState:
    """What a frame shows: float32 arrays as in Performance, row by row. Where not ``valid`` they are the last valid
    frame's (or the neutral face's), and the next frame starts anew."""

    timestamp: float  # seconds
    valid: bool
    error: float  # mean distance of the landmarks, over the distance between the eyes; infinite without a face
    root_pose: np.ndarray  # [3] the torso's, which does not change
    neck_pose: np.ndarray  # [3]
    jaw_pose: np.ndarray  # [3]
    eyes_pose: np.ndarray  # [2,3]
    eyelids: np.ndarray  # [2]
    expression: np.ndarray  # [E]
    translation: np.ndarray  # [3]
    unknowns: Tensor  # [P] the solver's
    speed: Tensor  # [P] of the unknowns, a second; smoothed

    def params(self) -> HeadParams:
        """As parameters of one frame, for heads whose shape is built in."""
        rows = ("expression", "root_pose", "neck_pose", "jaw_pose", "eyes_pose", "eyelids", "translation")
        return HeadParams(torch.zeros(1, 0), *(torch.from_numpy(getattr(self, name))[None] for name in rows))


class FrameFitter:
    """The frames of one person before one camera. Not to be shared by threads."""

    def __init__(
        self,
        head: HeadModel,
        shape: np.ndarray,
        focal: float,
        centre: tuple[float, float],
        *,
        vertex_offsets: np.ndarray | None = None,
        torso: np.ndarray | None = None,
        distance: float = 0.0,
        expression_sigma: float | None = None,
        smoothing: float = 1.0,
    ) -> None:
        """head: with landmarks; shape [S] and vertex_offsets [V,3]: the person's; focal and centre: the camera's, in
        pixels; torso [3]: root_pose (None: upright); distance: metres from the camera to the origin of translations;
        smoothing: strength of the tie to the previous frame, 0 for none. Raises InputError for another head's shape."""
        if len(shape) != head.shape_count:
            raise InputError(f"The head {head.name!r} has {head.shape_count} shape parameters, not {len(shape)}.")
        offsets = None if vertex_offsets is None else torch.as_tensor(vertex_offsets, dtype=torch.float32)
        person = head.personalise(torch.as_tensor(shape, dtype=torch.float32), offsets)
        self._head, self._model = head, restrict_to_landmarks(person, 0)
        self._focal, self._centre, self._distance = float(focal), np.asarray(centre, np.float64), float(distance)
        self._root = torch.zeros(3) if torso is None else torch.as_tensor(torso, dtype=torch.float32)
        self._expression_sigma, self._smoothing = expression_sigma, smoothing
        self._stiffness = smoothing * usual_stiffness(head.expression_names) / LOOSER**2
        self._telling = torch.as_tensor(pts.telling_points())
        self._everything = torch.ones(self._model.parameter_count, dtype=torch.bool)

    @classmethod
    def of(cls, head: HeadModel, performance: Performance, smoothing: float = 1.0) -> FrameFitter:
        """For the person and the camera of a clip that was fitted before."""
        K = performance.K
        return cls(
            head, performance.shape, float(K[0, 0]), (float(K[0, 2]), float(K[1, 2])),
            vertex_offsets=performance.vertex_offsets, torso=performance.root_pose[0],
            distance=float(performance.viewmat[2, 3]), smoothing=smoothing,
        )  # fmt: skip

    def fit(self, landmarks: np.ndarray | None, previous: FrameState | None, timestamp: float) -> FrameState:
        """Landmarks [478,2] in pixels (None: no face was found) at ``timestamp`` seconds -> the frame's state.

        previous: of the frame before, which may be lost or long ago; None: this is the first.
        """
        if landmarks is None or not np.isfinite(landmarks).all():
            return self._lost(previous, timestamp)
        with one_thread():
            seen = observe(self._model, np.asarray(landmarks, np.float64)[None], np.zeros(1, int))
            if not np.isfinite(seen.scales).all() or seen.scales[0] <= 0:
                return self._lost(previous, timestamp)
            followed = self._follow(seen, previous, timestamp)
            problem, unknowns, speed = followed or self._start(seen)
            error = float(landmark_errors(problem, unknowns, seen.eye_distance)[0])
        if not error < LOST:
            return replace(self._lost(previous, timestamp), error=error)
        return self._state(unknowns, speed, timestamp, error)

    def _follow(
        self, seen: Observations, previous: FrameState | None, timestamp: float
    ) -> tuple[Problem, Tensor, Tensor] | None:
        """From the previous frame on, held near to it; None where there is none, or it shows another place."""
        if previous is None or not previous.valid or not 0 < timestamp - previous.timestamp <= GAP:
            return None
        before = previous.unknowns[None]
        problem = reweighted(self._problem(seen), seen, before)
        if landmark_errors(problem, before, seen.eye_distance)[0] > JUMP:
            return None
        elapsed = timestamp - previous.timestamp
        ahead = before + elapsed * previous.speed
        tied = _tied(problem, ahead, self._stiffness / (elapsed / REFERENCE_STEP) ** 2)
        unknowns, _ = fit_frames(tied.landmarks(self._telling), ahead, self._everything, FOLLOWING)
        speed = previous.speed + NEWEST * ((unknowns - before)[0] / elapsed - previous.speed)
        return problem, unknowns, speed

    def _start(self, seen: Observations) -> tuple[Problem, Tensor, Tensor]:
        """From a rough pose and a neutral face, in the clip's order."""
        problem = self._problem(seen)
        rough = start_from_rough_pose(self._model, seen, self._root, self._focal, self._centre, problem.mean)
        problem = reweighted(problem, seen, rough)
        posed = fit_poses(problem.landmarks(self._telling), rough, STARTING)
        problem = reweighted(problem, seen, posed)
        unknowns, _ = fit_frames(problem.landmarks(self._telling), posed, self._everything, STARTING)
        return reweighted(problem, seen, unknowns), unknowns, torch.zeros(self._model.parameter_count)

    def _problem(self, seen: Observations) -> Problem:
        mean = torch.zeros(1, self._model.parameter_count)
        return frame_problem(
            self._head, self._model, seen, self._root, self._focal, self._centre, mean, self._expression_sigma
        )

    def _lost(self, previous: FrameState | None, timestamp: float) -> FrameState:
        """A frame without a face: what was there last."""
        if previous is None:
            nothing = torch.zeros(1, self._model.parameter_count)
            return replace(self._state(nothing, nothing[0], timestamp, np.inf), valid=False)
        return replace(previous, timestamp=timestamp, valid=False, error=np.inf)

    def _state(self, unknowns: Tensor, speed: Tensor, timestamp: float, error: float) -> FrameState:
        values = unknowns.numpy().copy()
        values[:, DEPTH] += self._distance
        return FrameState(
            timestamp=float(timestamp), valid=True, error=error, root_pose=self._root.numpy().copy(),
            neck_pose=values[0, NECK], jaw_pose=values[0, JAW], eyes_pose=eyes_pose(values)[0],
            eyelids=values[0, EYELIDS], expression=values[0, EXPRESSION], translation=values[0, TRANSLATION],
            unknowns=unknowns[0], speed=speed,
        )  # fmt: skip


def _tied(problem: Problem, before: Tensor, stiffness: Tensor) -> Problem:
    """The problem with a second prior, that its one frame lies about ``before`` [1,P] as ``stiffness`` [P] says."""
    precision = problem.precision + torch.diag(stiffness)
    pull = problem.mean @ problem.precision + before * stiffness
    return replace(problem, precision=precision, mean=torch.linalg.solve(precision, pull[0])[None])
