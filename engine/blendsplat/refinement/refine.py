# SPDX-License-Identifier: Apache-2.0
"""A clip's fit, confirmed by its pictures: what the person looks like and where the head is, in turn, coarse to fine.

The appearance (appearance.py) is the tracker's own: no avatar takes part, and every frame is treated alike, whether it
is trained on later or held out. With the appearance known, each frame is a small least-squares problem of the samples'
colours, the landmarks, the prior and the temporal terms (fitting/solver.py, fitting/temporal.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.clip_performance import clip_performance
from blendsplat.fitting.fit_options import SHARED_BIAS, FitOptions
from blendsplat.fitting.frame_problem import Observations, frame_problem, observe, one_thread, reweighted
from blendsplat.fitting.landmark_model import DEPTH, TRANSLATION, LandmarkModel, pack, restrict_to_landmarks
from blendsplat.fitting.shared_unknowns import ClipPrior, fit_clip_unknowns
from blendsplat.fitting.solver import Problem, fit_frames
from blendsplat.fitting.temporal import fit_together, make_smoothness, usual_stiffness
from blendsplat.fitting.vertex_offsets import OffsetBasis, make_offset_basis, with_offsets, with_pushes
from blendsplat.heads.model import LEFT_EYE_JOINT, RIGHT_EYE_JOINT, HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts
from blendsplat.progress import Progress
from blendsplat.refinement.appearance import Appearance, learn_appearance
from blendsplat.refinement.photometric_term import PhotometricTerm, look_up
from blendsplat.refinement.pictures import Pictures, ReadPicture, read_pictures
from blendsplat.refinement.sight import see
from blendsplat.refinement.surface_samples import SurfaceSamples, spread_samples
from blendsplat.geometry import rotvec_to_matrix

SHAPE_DIRECTIONS = 100


@dataclass
class RefineOptions:
    eyes_apart: tuple[float, ...] = (14.0, 28.0, 40.0)
    rounds: tuple[int, ...] = (2, 2, 1)
    person: tuple[int, ...] = (0, 1, 1)
    iterations: int = 2
    votes: float = 0.5
    samples: int = 2400
    other_landmarks: float = 0.15
    lips: float = 0.5
    key_landmarks: float = 0
    key_votes: float = 0.1
    unbias: bool = True
    lids: float = 1.0
    irises: float = 0.3
    eyes: float = 5.0
    rings: bool = True
    contrast: float = 0.15
    smoothing: float = 1.0
    keyframes: int = 32
    bundle: int = 6
    shape_weight: float = 1.0
    focal_sigma: float = 0.1
    expression_sigma: float | None = None
    light: bool = False
    debug: object = None


def refine_clip(
    head: HeadModel, found: Performance, image: ReadPicture, matte: ReadPicture | None, pixels: np.ndarray,
    options: RefineOptions | None = None, progress: Progress | None = None,
) -> Performance:  # fmt: skip
    """``found`` refined on the pictures; pixels [F,478,2]: the detected landmarks."""
    options, progress = options or RefineOptions(), progress or Progress()
    shown = np.flatnonzero(found.valid)
    model = restrict_to_landmarks(head, SHAPE_DIRECTIONS)
    seen = observe(model, pixels[shown].astype(np.float64), shown)
    samples = spread_samples(head, options.samples)
    apart = float(np.median(seen.eye_distance))
    scales = [min(wanted / apart, 1.0) for wanted in options.eyes_apart]
    with one_thread(), read_pictures(image, matte, shown, scales[-1], progress) as finest:
        state = _start(head, model, found, seen, samples, options)
        for level, scale in enumerate(scales):
            pictures = finest.at_scale(scale)
            if options.contrast:
                pictures = pictures.contrasts(options.contrast * apart * pictures.scale)
            for turn in range(options.rounds[level]):
                progress.check()
                look = _learn(state, pictures, options)
                if turn < options.person[level]:
                    state = _fit_person(state, look, options)
                    if options.debug:
                        options.debug(state, f"level {level} person", found)
                    look = _learn(state, pictures, options)
                state = _fit_frames(state, _term(state, look), options)
                if options.debug:
                    options.debug(state, f"level {level} turn {turn}", found)
    return _written(state, found)


@dataclass
class _State:
    head: HeadModel
    base: LandmarkModel  # 478 points, with shape and pushes
    basis: OffsetBasis
    sample_base: LandmarkModel
    samples: SurfaceSamples
    seen: Observations
    shape: Tensor  # [S+3K]
    shape_count: int
    problem: Problem  # person built in
    unknowns: Tensor
    smooth: object
    size: tuple
    prior: ClipPrior

    @property
    def person(self):
        offsets = self.basis.offsets(self.shape[self.shape_count :])
        shape = torch.zeros(self.head.shape_count)
        shape[: self.shape_count] = self.shape[: self.shape_count]
        return shape, offsets


def _start(head, model, found, seen, samples, options) -> _State:
    basis = make_offset_basis(head)
    base = with_offsets(model, head, basis)
    count = model.shape_directions.shape[-1]
    shape = torch.as_tensor(found.shape[:count])
    offsets = torch.as_tensor(found.vertex_offsets)
    pushes = torch.linalg.lstsq(basis.weights, offsets).solution
    shape = torch.cat([shape, pushes.flatten()])
    unknowns = pack(found.params())[torch.as_tensor(seen.rows)].clone()
    unknowns[:, TRANSLATION] += torch.as_tensor(found.viewmat[:3, 3]) * torch.tensor([1.0, -1.0, -1.0])
    root = torch.as_tensor(found.root_pose[0])
    personal = base.shaped(shape).without_shape()
    mean = torch.zeros_like(unknowns)
    problem = frame_problem(
        head, personal, seen, root, float(found.K[0, 0]), found.K[:2, 2].astype(np.float64), mean,
        options.expression_sigma,
    )
    sample_base = samples.model(head, SHAPE_DIRECTIONS)
    mix = (basis.weights[samples.corners] * samples.barycentrics[..., None]).sum(1)
    sample_base = with_pushes(sample_base, mix)
    segments = np.zeros(len(seen.rows), int)
    smooth = make_smoothness(segments, found.timestamps[seen.rows], usual_stiffness(head.expression_names, options.smoothing))
    precision = torch.block_diag(torch.eye(count) * SHARED_BIAS, SHARED_BIAS * basis.precision) * options.shape_weight
    prior = ClipPrior(precision, torch.zeros(len(shape)), float(np.log(found.K[0, 0])), options.focal_sigma)
    return _State(head, base, basis, sample_base, samples, seen, shape, count, problem, unknowns, smooth,
                  (found.width, found.height), prior)


def _landmark_weights(problem: Problem, seen, unknowns, options, keyframes=False, fine=False) -> Problem:
    problem = reweighted(problem, seen, unknowns)
    if keyframes:
        share = torch.full((pts.COUNT,), options.key_landmarks)
        share[list(pts.OVAL)] = 0.0
        share[list(pts.NEAR_OVAL)] = 0.0
        return replace(problem, weights=problem.weights * share)
    if options.unbias:
        from blendsplat.fitting.landmark_model import landmark_positions
        world = landmark_positions(problem.model, unknowns, problem.root)
        flat = torch.stack([world[..., 0], -world[..., 1]], -1) / (-world[..., 2:]).clamp_min(0.02) * problem.focal + problem.centre
        apart = torch.as_tensor(seen.eye_distance, dtype=torch.float32)[:, None, None]
        bias = ((problem.pixels - flat) / apart).median(0).values
        problem = replace(problem, pixels=problem.pixels - bias * apart)
    share = torch.full((pts.COUNT,), options.other_landmarks)
    for group in (pts.OUTER_LIPS, pts.INNER_LIPS, pts.MIDDLE_LIPS):
        share[list(group)] = options.lips
    for group in (pts.LEFT_LIDS, pts.RIGHT_LIDS):
        share[list(group)] = options.lids
    for group in (pts.LEFT_IRIS, pts.RIGHT_IRIS):
        share[list(group)] = options.irises if fine else 1.0
    share[list(pts.OVAL)] = 0.0
    share[list(pts.NEAR_OVAL)] = 0.0
    return replace(problem, weights=problem.weights * share)


@dataclass
class _Look:
    shade: Tensor  # [F,N]
    votes: Tensor  # [F,N]
    appearance: Appearance
    pictures: Pictures


def _learn(state: _State, pictures: Pictures, options) -> _Look:
    problem, unknowns = state.problem, state.unknowns
    head = state.head.personalise(*state.person)
    view = see(head, state.samples, unknowns, problem.root, problem.focal, problem.centre, state.size)
    model = state.sample_base.shaped(state.shape).without_shape()
    colours, inside = _colours(model, problem, unknowns, pictures)
    weights = view.sight * inside
    look = learn_appearance(colours, view.normals, weights, options.light)
    if options.rings:
        look = replace(look, albedo=round_irises(state.samples, state.head, look.albedo, look.seen))
    everyone = torch.arange(len(unknowns))
    trusted = (look.seen > 3).float()
    for number, name in enumerate(state.samples.regions):
        if "eyeball" in name:
            trusted[torch.as_tensor(state.samples.region == number)] *= options.eyes if pictures.scale * float(np.median(state.seen.eye_distance)) > 50 else 0.0
    return _Look(look.shade(view.normals, everyone), view.sight * trusted * options.votes, look, pictures)


def round_irises(samples: SurfaceSamples, head: HeadModel, albedo: Tensor, seen: Tensor) -> Tensor:
    """albedo [N,3] with both eyes' made alike and round about their axes."""
    angle = torch.full((len(samples),), torch.nan)
    place = (head.template[samples.corners] * samples.barycentrics[..., None]).sum(1)
    for name, joint in (("left_eyeball", LEFT_EYE_JOINT), ("right_eyeball", RIGHT_EYE_JOINT)):
        rows = torch.as_tensor(samples.region == samples.regions.index(name))
        out = torch.nn.functional.normalize(place[rows] - head.joints[joint], dim=-1)
        angle[rows] = torch.rad2deg(torch.arccos(out[:, 2].clamp(-1, 1)))
    eyes = angle.isfinite()
    weight = torch.exp(-0.5 * ((angle[eyes, None] - angle[None, eyes]) / 2.5) ** 2) * seen[eyes]
    albedo = albedo.clone()
    albedo[eyes] = weight @ albedo[eyes] / weight.sum(1, keepdim=True).clamp_min(1e-6)
    return albedo


def _term(state: _State, look: _Look) -> PhotometricTerm:
    model = state.sample_base.shaped(state.shape).without_shape()
    wanted = look.appearance.albedo * look.shade[..., None]
    return PhotometricTerm(model, look.pictures, wanted, look.appearance.noise, look.votes, torch.arange(len(wanted)))


def _colours(model, problem, unknowns, pictures) -> tuple[Tensor, Tensor]:
    from blendsplat.fitting.landmark_model import landmark_positions
    parts = []
    for start in range(0, len(unknowns), 32):
        rows = torch.arange(start, min(start + 32, len(unknowns)))
        world = landmark_positions(model, unknowns[rows], problem.root)
        flat = torch.stack([world[..., 0], -world[..., 1]], -1) / (-world[..., 2:]).clamp_min(0.02) * problem.focal + problem.centre
        found, _, inside = look_up(pictures, rows, flat)
        parts.append((found, inside))
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]).float()


def _fit_frames(state: _State, term: PhotometricTerm, options) -> _State:
    fine = term.pictures.scale * float(np.median(state.seen.eye_distance)) > 50
    problem = _landmark_weights(state.problem, state.seen, state.unknowns, options, fine=fine)
    problem = replace(problem, terms=(term,))
    everything = torch.ones(state.unknowns.shape[1], dtype=torch.bool)
    unknowns, _ = fit_frames(problem, state.unknowns, everything, options.iterations)
    unknowns = fit_together(problem, unknowns, torch.ones(len(unknowns), dtype=torch.bool), everything, state.smooth, 1)
    return replace(state, unknowns=unknowns)


def _fit_person(state: _State, look: _Look, options) -> _State:
    from blendsplat.fitting.person_fit import _keyframes
    rows = torch.as_tensor(_keyframes(state.unknowns, state.seen)[: options.keyframes])
    problem = _landmark_weights(state.problem, state.seen, state.unknowns, options, options.key_landmarks > 0).frames(rows)
    term = _term(state, replace(look, votes=look.votes / options.votes * options.key_votes))
    problem = replace(problem, model=state.base, terms=(replace(term, model=state.sample_base).frames(rows),))
    everything = torch.ones(state.unknowns.shape[1], dtype=torch.bool)
    fit = fit_clip_unknowns(problem, state.unknowns[rows], state.shape, everything, state.prior, options.bundle)
    unknowns = state.unknowns.clone()
    unknowns[:, DEPTH] *= float(fit.focal / state.problem.focal)
    unknowns[rows] = fit.unknowns
    problem = replace(state.problem, model=state.base.shaped(fit.shape).without_shape(), focal=fit.focal)
    return replace(state, problem=problem, unknowns=unknowns, shape=fit.shape)


def _written(state: _State, found: Performance) -> Performance:
    from blendsplat.fitting.landmark_model import EXPRESSION, EYELIDS, JAW, NECK, TRANSLATION
    from blendsplat.fitting.frame_problem import eyes_pose
    from blendsplat.fitting.clip_performance import nearest_valid
    shape, offsets = state.person
    distance = float(-state.unknowns[:, DEPTH].median())
    moved = state.unknowns.clone()
    moved[:, DEPTH] += distance
    row_of = np.zeros(found.frame_count, int)
    row_of[state.seen.rows] = np.arange(len(state.seen.rows))
    values = moved[torch.as_tensor(row_of[nearest_valid(found.valid)])].numpy()
    K, viewmat = found.K.copy(), found.viewmat.copy()
    K[0, 0] = K[1, 1] = float(state.problem.focal)
    viewmat[:3, 3] = 0, 0, distance
    return replace(
        found, shape=shape.numpy(), vertex_offsets=offsets.numpy(), expression=values[:, EXPRESSION],
        neck_pose=values[:, NECK], jaw_pose=values[:, JAW], eyes_pose=eyes_pose(values), eyelids=values[:, EYELIDS],
        translation=values[:, TRANSLATION], K=K, viewmat=viewmat,
    )
