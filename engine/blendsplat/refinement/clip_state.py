# SPDX-License-Identifier: Apache-2.0
"""A fitted clip as the refinement holds it: the solver's problem of its frames, and the person with what may move."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.clip_performance import nearest_valid
from blendsplat.fitting.fit import SHAPE_DIRECTIONS, expected_unknowns
from blendsplat.fitting.fit_options import SHARED_BIAS, FitOptions
from blendsplat.fitting.frame_problem import (
    Observations,
    eyes_pose,
    frame_problem,
    landmark_errors,
    observe,
    reweighted,
)
from blendsplat.fitting.initial_poses import clip_runs
from blendsplat.fitting.landmark_model import (
    DEPTH,
    EXPRESSION,
    EYELIDS,
    EYES,
    JAW,
    NECK,
    TRANSLATION,
    LandmarkModel,
    landmark_positions,
    pack,
    restrict_to_landmarks,
)
from blendsplat.fitting.person_fit import expected_shape
from blendsplat.fitting.shared_unknowns import ClipPrior
from blendsplat.fitting.solver import Problem
from blendsplat.fitting.temporal import Smoothness, make_smoothness, usual_stiffness
from blendsplat.fitting.vertex_offsets import OffsetBasis, offset_basis, with_offsets, with_pushes
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts
from blendsplat.refinement.iris_term import iris_model
from blendsplat.refinement.refine_options import RefineOptions
from blendsplat.refinement.surface_samples import SurfaceSamples, spread_samples

IN_CAMERA = torch.tensor([1.0, -1.0, -1.0])  # the solver's axes (y up, looking along -z) in the camera's
_EYES_AND_LIPS = [*pts.OUTER_LIPS, *pts.INNER_LIPS, *pts.MIDDLE_LIPS, *pts.LEFT_LIDS, *pts.RIGHT_LIDS]
USUAL_GAZE = (0.12, 0.2)  # radians up and down, and sideways: one sigma of an eye in its head
# The picture has many votes: with the landmark fit's prior, what the shape lacks would become a constant expression.
FACE_PRIOR = 4.0
LONGEST_GAP = 1.0  # seconds without a face through which a head is followed


@dataclass(frozen=True)
class PersonModels:
    """What the terms see of the head, with directions for its shape and its vertex offsets' pushes: S + 3K numbers."""

    head: HeadModel
    basis: OffsetBasis
    shape_count: int  # S
    samples: SurfaceSamples
    landmark: LandmarkModel  # 478 points
    sample: LandmarkModel  # N points
    iris: LandmarkModel | None  # 2 points
    prior: ClipPrior

    def split(self, person: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers [S+3K] -> the head's whole shape vector, vertex offsets [V,3]."""
        shape = torch.zeros(self.head.shape_count)
        shape[: self.shape_count] = person[: self.shape_count]
        return shape, self.basis.offsets(person[self.shape_count :])


@dataclass(frozen=True)
class ClipState:
    """Where the refinement stands. B frames, those ``seen.rows`` of the clip; the camera is at the origin."""

    models: PersonModels
    seen: Observations
    told: np.ndarray  # [B] bool: the detector found a face; the others are followed
    problem: Problem  # of the 478 landmarks, the person built in
    unknowns: Tensor  # [B,P]
    person: Tensor  # [S+3K]
    smooth: Smoothness
    size: tuple[int, int]  # width and height of the clip's pictures

    def own(self, model: LandmarkModel) -> LandmarkModel:
        """A model of ``models`` with the person built in."""
        return model.shaped(self.person).without_shape()

    def projected(self, model: LandmarkModel, rows: Tensor | slice) -> Tensor:
        """Pixels [B,L,2] of a model's points in the frames ``rows``; ``model`` has the person built in."""
        world = landmark_positions(model, self.unknowns[rows], self.problem.root)
        flat = torch.stack([world[..., 0], -world[..., 1]], -1) / (-world[..., 2:]).clamp_min(0.02)
        return flat * self.problem.focal + self.problem.centre


def start_state(
    head: HeadModel, found: Performance, pixels: np.ndarray, options: RefineOptions, fit: FitOptions,
    shots: np.ndarray | None,
) -> ClipState:  # fmt: skip
    """The state of a clip as it was fitted to its landmarks [F,478,2]."""
    told = found.valid & np.isfinite(pixels).all((1, 2))
    followed = told | _gaps(told, found.timestamps)
    pixels = pixels[nearest_valid(told)].astype(np.float64)
    runs = clip_runs(pixels, followed, found.timestamps, shots)
    followed &= np.isin(runs, runs[told])
    rows = np.flatnonzero(followed)
    models = _person_models(head, found, options, fit)
    seen = observe(models.landmark, pixels[rows], rows)
    person = torch.as_tensor(found.shape[: models.shape_count])
    pushes = np.linalg.lstsq(models.basis.weights.double().numpy(), found.vertex_offsets.astype(np.float64), rcond=None)
    person = torch.cat([person, torch.as_tensor(pushes[0].flatten(), dtype=torch.float32)])
    root, centre = torch.as_tensor(found.root_pose[0]), found.K[:2, 2].astype(np.float64)
    mean = expected_unknowns(models.landmark, fit.prior, rows)
    problem = frame_problem(
        head, models.landmark.shaped(person).without_shape(), seen, root, float(found.K[0, 0]), centre, mean,
        fit.expression_sigma,
    )  # fmt: skip
    firmer = torch.zeros(len(problem.precision))
    firmer[EYES] = 1 / torch.tensor(USUAL_GAZE * 2) ** 2
    for part in (JAW, EXPRESSION):
        firmer[part] = (FACE_PRIOR - 1) * torch.diagonal(problem.precision)[part]
    problem = replace(problem, precision=problem.precision + torch.diag(firmer))
    unknowns = pack(found.params()).clone()
    unknowns[:, TRANSLATION] += torch.as_tensor(found.viewmat[:3, 3]) * IN_CAMERA
    unknowns = _followed(unknowns, told, rows, found.timestamps)
    stiffness = usual_stiffness(head.expression_names, options.smoothing)
    smooth = make_smoothness(runs[rows], found.timestamps[rows], stiffness)
    size = (found.width, found.height)
    return ClipState(models, seen, told[rows], problem, unknowns, person, smooth, size)


def _gaps(told: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """[F] bool: frames without a face less than LONGEST_GAP from one with it."""
    shown = np.flatnonzero(told)
    after = np.searchsorted(shown, np.arange(len(told))).clip(0, len(shown) - 1)
    before = (after - 1).clip(0)
    nearest = np.minimum(np.abs(timestamps - timestamps[shown[after]]), np.abs(timestamps - timestamps[shown[before]]))
    gaps: np.ndarray = ~told & (nearest < LONGEST_GAP)
    return gaps


def _followed(unknowns: Tensor, told: np.ndarray, rows: np.ndarray, timestamps: np.ndarray) -> Tensor:
    """[B,P]: frames without a face between their neighbours, by time."""
    shown = np.flatnonzero(told)
    values = unknowns.numpy()
    columns = [np.interp(timestamps[rows], timestamps[shown], values[shown, p]) for p in range(values.shape[1])]
    return torch.as_tensor(np.stack(columns, 1), dtype=torch.float32)


def _person_models(head: HeadModel, found: Performance, options: RefineOptions, fit: FitOptions) -> PersonModels:
    plain = restrict_to_landmarks(head, SHAPE_DIRECTIONS)
    count = plain.shape_directions.shape[-1]
    basis, samples = offset_basis(head), spread_samples(head, options.samples)
    at_samples = (basis.weights[samples.corners] * samples.barycentrics[..., None]).sum(1)
    iris = iris_model(head, SHAPE_DIRECTIONS)
    if iris is not None:
        iris = with_pushes(iris, torch.zeros(2, basis.weights.shape[1]))  # offsets leave the eyes alone
    precision = torch.block_diag(torch.eye(count) / fit.shape_sigma**2, basis.precision) * SHARED_BIAS
    mean = torch.cat([expected_shape(fit.prior, count), torch.zeros(len(basis.precision))])
    sigma = 0.0 if fit.focal else options.focal_sigma
    prior = ClipPrior(precision, mean, float(np.log(found.K[0, 0])), sigma)
    return PersonModels(
        head, basis, count, samples, with_offsets(plain, head, basis),
        with_pushes(samples.model(head, SHAPE_DIRECTIONS), at_samples), iris, prior,
    )  # fmt: skip


def weighed_landmarks(state: ClipState, options: RefineOptions, irises: bool, shape: bool) -> Problem:
    """The frames' problem with the landmarks' weights: lids and lips tell, the outline does not, and of the others what
    each frame says beyond what all frames say: a detector's and an embedding's constant misses are not the pose's.

    irises: the picture told where they are, so the detector's are not asked; shape: it is fitted, and constant misses
    are its own.
    """
    problem = reweighted(state.problem, state.seen, state.unknowns)
    apart = torch.as_tensor(state.seen.eye_distance, dtype=torch.float32)[:, None, None]
    told = torch.as_tensor(state.told)
    missed = (problem.pixels - state.projected(problem.model, slice(None))) / apart
    constant = missed[told].median(0).values
    constant[_EYES_AND_LIPS] = 0
    share = torch.full((pts.COUNT,), options.skin)
    share[[*pts.OUTER_LIPS, *pts.INNER_LIPS, *pts.MIDDLE_LIPS]] = options.lips
    share[[*pts.LEFT_LIDS, *pts.RIGHT_LIDS]] = options.lids
    share[[*pts.LEFT_IRIS, *pts.RIGHT_IRIS]] = 0.02 if irises else 1.0
    share[[*pts.OVAL, *pts.NEAR_OVAL]] = 0.0
    weights = problem.weights * share * told[:, None]
    pixels = problem.pixels if shape else problem.pixels - constant * apart
    return replace(problem, pixels=pixels, weights=weights)


def refined_performance(state: ClipState, found: Performance) -> Performance:
    """``found`` with the state's numbers; its camera stands where the face's median distance puts it."""
    shape, offsets = state.models.split(state.person)
    distance = float(-state.unknowns[:, DEPTH].median())
    moved = state.unknowns.clone()
    moved[:, DEPTH] += distance
    rows = state.seen.rows
    valid = np.zeros(found.frame_count, bool)
    valid[rows] = True
    place = np.zeros(found.frame_count, int)
    place[rows] = np.arange(len(rows))
    values = moved[torch.as_tensor(place[nearest_valid(valid)])].numpy()
    K, viewmat = found.K.copy(), np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
    K[0, 0] = K[1, 1] = float(state.problem.focal)
    viewmat[2, 3] = distance
    missed = np.zeros(found.frame_count, np.float32)
    errors = landmark_errors(
        reweighted(state.problem, state.seen, state.unknowns), state.unknowns, state.seen.eye_distance
    )
    missed[rows] = np.where(state.told, errors, 0)
    return replace(
        found, valid=valid, shape=shape.numpy(), vertex_offsets=offsets.numpy(), expression=values[:, EXPRESSION],
        neck_pose=values[:, NECK], jaw_pose=values[:, JAW], eyes_pose=eyes_pose(values), eyelids=values[:, EYELIDS],
        translation=values[:, TRANSLATION], K=K, viewmat=viewmat, landmark_errors=missed,
    )  # fmt: skip
