# SPDX-License-Identifier: Apache-2.0
"""From landmarks of a clip to its Tracking, in the order that converges: rough poses, then shape and focal length over
a few dozen spread frames, then every frame on its own, then all frames together with temporal terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.errors import NoFaceError
from blendsplat.fitting import initial_poses as prepare
from blendsplat.fitting.face_outline import make_outline
from blendsplat.fitting.face_prior import FacePrior
from blendsplat.fitting.landmark_model import (
    EXPRESSION,
    EYELIDS,
    EYES,
    JAW,
    NECK,
    TRANSLATION,
    LandmarkModel,
    landmark_positions,
    restrict_to_landmarks,
)
from blendsplat.fitting.shared_unknowns import ClipPrior, fit_clip_unknowns
from blendsplat.fitting.shot_identity import note_on_others, runs_of_others
from blendsplat.fitting.silhouette import Mattes, make_inside
from blendsplat.fitting.skin_border import SkinBorder, make_border_term
from blendsplat.fitting.solver import NOISE, Problem, ShapeTerm, fit_frames, landmark_pairs, prior_precision
from blendsplat.fitting.temporal import fit_together, make_smoothness, usual_stiffness
from blendsplat.fitting.vertex_offsets import OffsetBasis, make_offset_basis, with_offsets
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts
from blendsplat.progress import Progress

SHAPE_DIRECTIONS = 100  # more than this the landmarks of one person cannot tell apart
KEYFRAMES = 32
# A detector's bias is the same in every frame: about what all frames share they count as this many times fewer.
SHARED_BIAS = 6.0
INSIDE = 0.4  # weight of one vertex that lies beyond the matte
LOST = 0.25  # a frame whose landmarks miss by this part of the eye distance shows no face that was understood
TORSO_TURN = np.radians(12.0)  # a median head turn beyond this is the torso's


@dataclass
class FitOptions:
    """focal in pixels of the clip's images; None: solved, with a prior of ``field_of_view`` degrees across
    ``view_pixels``."""

    focal: float | None = None
    field_of_view: float | None = None  # None: 28, the usual one of talking-head crops
    view_pixels: float | None = None  # None: the images' longer side
    focal_sigma: float = 0.1  # of log(focal): landmarks alone see perspective badly
    centre: tuple[float, float] | None = None  # principal point in pixels; None: the images' middle
    smoothing: float = 1.0  # 0 switches temporal terms off
    offsets: bool = True
    expression_sigma: float | None = None  # None: 1 for heads of components, 0.35 for blendshapes
    shape_sigma: float = 1.0
    prior: FacePrior | None = None  # None: the model's mean face
    outline: bool = False  # the outline tells how wide the face is; in a clip that turns, the face itself does
    border: SkinBorder | None = None  # of every frame: where its skin ends
    shared_bias: float = SHARED_BIAS


@dataclass
class _Clip:
    """Observations of the frames that show a face (rows), in the solver's units."""

    pixels: np.ndarray  # [B,478,2]
    eye_distance: np.ndarray  # [B] pixels
    rotations: np.ndarray  # [B,3,3] rough head rotations
    scales: np.ndarray  # [B] pixels per metre
    centres: np.ndarray  # [B,2]
    openings: np.ndarray  # [B,2]
    rows: np.ndarray  # [B] their numbers in the clip


def fit_clip(
    head: HeadModel,
    pixels: np.ndarray,
    found: np.ndarray,
    timestamps: np.ndarray,
    width: int,
    height: int,
    options: FitOptions | None = None,
    head_source: str = "builtin",
    progress: Progress | None = None,
    shots: np.ndarray | None = None,
    mattes: Mattes | None = None,
) -> Performance:
    """Fit ``head`` to landmarks [F,478,2] (pixels of width x height images), found [F] bool, timestamps [F] seconds.

    shots: frames at which a shot is known to begin; jumps of the face are found here too. mattes: the person's matte
    (uint8 [H,W]) by frame, which keeps the shape's skull, ears and neck inside.
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
    clip = _observe(model, pixels[shown].astype(np.float64), shown)
    cuts = np.zeros(len(found), bool)
    cuts[np.asarray([] if shots is None else shots, int)] = True
    with _one_thread():
        problem, unknowns = _start(head, model, clip, width, height, options)
        unshaped = problem
        progress.update("fit", 0, 2, "shape and focal length")
        problem, unknowns, shape, offsets = _fit_shape(head, problem, unknowns, clip, options, shown, mattes)
        progress.check()
        progress.update("fit", 1, 2, "every frame")
        problem, together, valid, segments = _fit_all(
            head, problem, unknowns, clip, shown, cuts, pixels, timestamps, options
        )
        unshaped = replace(unshaped, focal=problem.focal, weights=problem.weights)
        others = runs_of_others(unshaped, together, segments[shown], SHARED_BIAS)
    progress.update("fit", 2, 2)
    tracking = _result(
        head, head_source, problem, together, shape, offsets, valid, segments, clip, shown, timestamps, (width, height)
    )
    if others:
        tracking.notes = (note_on_others([int(np.flatnonzero(segments == run)[0]) for run in others]),)
    return tracking


@contextmanager
def _one_thread() -> Iterator[None]:
    """The fit's operations are small: threads would only wait for each other, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _observe(model: LandmarkModel, pixels: np.ndarray, shown: np.ndarray) -> _Clip:
    rotations, scales, centres = prepare.weak_perspective_poses(model.points.double().numpy(), pixels)
    eye_distance = scales * float((model.joints[3] - model.joints[4]).norm())
    return _Clip(pixels, eye_distance, rotations, scales, centres, prepare.eye_openings(pixels, eye_distance), shown)


def _start(
    head: HeadModel, model: LandmarkModel, clip: _Clip, width: int, height: int, options: FitOptions
) -> tuple[Problem, Tensor]:
    """The problem of all shown frames, and unknowns [B,P] from the rough poses."""
    span = options.view_pixels or max(width, height)
    focal = options.focal or span / 2 / np.tan(np.radians(options.field_of_view or 28.0) / 2)
    centre = np.array(options.centre or (width / 2, height / 2))
    root = _torso(clip.rotations)
    neck = torch.as_tensor(clip.rotations, dtype=torch.float32)
    neck = rotvec_to_matrix(root).T @ neck
    unknowns = _prior_mean(model, options.prior, clip.rows)
    unknowns[:, NECK] = matrix_to_rotvec(neck)
    posed = landmark_positions(model, unknowns, root)[:, list(pts.RIGID)].mean(1).numpy()
    depth = focal / clip.scales
    target = np.column_stack([(clip.centres - centre) * [1, -1] * (depth / focal)[:, None], -depth])
    unknowns[:, TRANSLATION] = torch.as_tensor(target - posed, dtype=torch.float32)

    low, high = head.expression_range
    bounded = low == 0
    names = head.expression_names
    sigma = torch.full((len(names),), options.expression_sigma or (0.35 if bounded else 1.0))
    lower, upper = torch.full((model.parameter_count,), -np.inf), torch.full((model.parameter_count,), np.inf)
    lower[EXPRESSION], upper[EXPRESSION] = low, high
    lower[EYELIDS], upper[EYELIDS] = -0.1, 1.0
    lower[JAW], upper[JAW] = torch.tensor([-0.02, -0.15, -0.15]), torch.tensor([0.7, 0.15, 0.15])
    lower[EYES], upper[EYES] = -0.8, 0.8
    problem = Problem(
        model=model,
        root=root,
        focal=torch.tensor(focal, dtype=torch.float32),
        centre=torch.as_tensor(centre, dtype=torch.float32),
        pixels=torch.as_tensor(clip.pixels, dtype=torch.float32),
        sigma=torch.as_tensor(NOISE * clip.eye_distance, dtype=torch.float32).clamp_min(0.05),
        weights=torch.ones(len(neck), pts.COUNT),
        precision=prior_precision(model, sigma),
        mean=_prior_mean(model, options.prior, clip.rows).clamp(lower, upper),
        lower=lower,
        upper=upper,
        pairs=landmark_pairs(),
    )
    return _reweighted(problem, clip, unknowns), unknowns


def _prior_mean(model: LandmarkModel, prior: FacePrior | None, rows: np.ndarray) -> Tensor:
    """[B,P]: what is expected of the frames ``rows`` before their landmarks are looked at."""
    mean = torch.zeros(len(rows), model.parameter_count)
    if prior is not None:
        expression = torch.as_tensor(prior.expression[rows], dtype=torch.float32)
        mean[:, EXPRESSION.start : EXPRESSION.start + expression.shape[1]] = expression
        mean[:, JAW] = torch.as_tensor(prior.jaw_pose[rows], dtype=torch.float32)
    return mean


def _prior_shape(prior: FacePrior | None, count: int) -> Tensor:
    """[count]: the expected shape."""
    mean = torch.zeros(count)
    if prior is not None:
        known = torch.as_tensor(prior.shape[:count], dtype=torch.float32)
        mean[: len(known)] = known
    return mean


def _torso(rotations: np.ndarray) -> Tensor:
    """Rotation vector [3] of the torso: upright, turned by what the median head turn exceeds a usual one."""
    yaw = float(np.median(np.arctan2(rotations[:, 0, 2], rotations[:, 2, 2])))
    return torch.tensor([0.0, np.sign(yaw) * max(abs(yaw) - TORSO_TURN, 0.0), 0.0], dtype=torch.float32)


def _reweighted(problem: Problem, clip: _Clip, unknowns: Tensor) -> Problem:
    """Landmark weights at the present poses: confidence, the embedding's, visibility, closed eyes' irises."""
    model = problem.model
    turned = (rotvec_to_matrix(problem.root) @ rotvec_to_matrix(unknowns[:, NECK])).numpy()
    to_camera = -torch.nn.functional.normalize(unknowns[:, TRANSLATION], dim=-1).numpy()
    seen = prepare.visibility(model.normals.numpy(), turned, to_camera)
    seen[:, [*pts.RIGHT_IRIS, *pts.LEFT_IRIS]] = np.maximum(seen[:, [*pts.RIGHT_IRIS, *pts.LEFT_IRIS]], 0.3)
    weight = seen * prepare.iris_confidence(clip.openings) * pts.landmark_confidence() * model.usable.numpy()
    return replace(problem, weights=torch.as_tensor(weight, dtype=torch.float32))


def _fit_shape(
    head: HeadModel,
    problem: Problem,
    unknowns: Tensor,
    clip: _Clip,
    options: FitOptions,
    shown: np.ndarray,
    mattes: Mattes | None,
) -> tuple[Problem, Tensor, Tensor, Tensor]:
    """Shape [S], vertex offsets [V,3] and focal length; the problem comes back with all three built in."""
    rotation = unknowns[:, NECK].numpy()
    mouth = (
        np.mean([np.linalg.norm(clip.pixels[:, a] - clip.pixels[:, b], axis=-1) for a, b in pts.LIP_PAIRS], 0)
        / clip.eye_distance
    )
    features = np.column_stack([3 * rotation, mouth, clip.openings, 0.5 * np.log(clip.scales)])
    rows = torch.as_tensor(prepare.spread_frames(features, np.arange(len(unknowns)), KEYFRAMES))
    keys, values = problem.frames(rows), unknowns[rows]
    everything = torch.ones(unknowns.shape[1], dtype=torch.bool)
    values = _fit_poses(keys, values, 6)

    shape_count = problem.model.shape_directions.shape[-1]
    focal_sigma = 0.0 if options.focal else options.focal_sigma / options.shared_bias**0.5
    precision = torch.eye(shape_count) * options.shared_bias / options.shape_sigma**2
    expected = _prior_shape(options.prior, shape_count)
    prior = ClipPrior(precision, expected, float(problem.focal.log()), focal_sigma)
    fit = fit_clip_unknowns(keys, values, expected, everything, prior, 10)
    basis: OffsetBasis | None = None
    if options.offsets:
        basis = make_offset_basis(head)
        keys = replace(keys, model=with_offsets(problem.model, head, basis))
        whole = torch.block_diag(precision, options.shared_bias * basis.precision)
        expected = torch.cat([expected, torch.zeros(len(basis.precision))])
        prior = replace(prior, shape_precision=whole, shape_mean=expected)
    keyframes, terms = shown[rows.numpy()], list[ShapeTerm]()
    if mattes is not None:
        terms.append(make_inside(head, mattes, keyframes, shape_count, basis, INSIDE))
    if options.outline:
        turned = rotvec_to_matrix(problem.root) @ rotvec_to_matrix(fit.unknowns[:, NECK])
        terms.append(make_outline(keys.model, keys.pixels, turned, options.shared_bias))
    if options.border is not None:
        border = options.border.frames(keyframes)
        terms.append(make_border_term(head, border, shape_count, basis, options.shared_bias))
    keys = replace(keys, terms=tuple(terms))
    if basis is not None or terms:
        start = torch.cat([fit.shape, torch.zeros(prior.shape_precision.shape[0] - shape_count)])
        fit = fit_clip_unknowns(replace(keys, focal=fit.focal), fit.unknowns, start, everything, prior, 8)
    shape = torch.zeros(head.shape_count)
    shape[:shape_count] = fit.shape[:shape_count]
    offsets = torch.zeros_like(head.template) if basis is None else basis.offsets(fit.shape[shape_count:])
    scaled = unknowns.clone()  # a longer focal length means a head farther away
    scaled[:, TRANSLATION] = scaled[:, TRANSLATION] * torch.tensor([1.0, 1.0, float(fit.focal / problem.focal)])
    fitted = replace(problem, model=keys.model.shaped(fit.shape).without_shape(), focal=fit.focal)
    return fitted, scaled, shape, offsets


def _fit_poses(problem: Problem, unknowns: Tensor, iterations: int) -> Tensor:
    """Move only heads, whose faces count as neutral: ``unknowns`` [B,P] with new neck poses and translations."""
    few = EXPRESSION.start
    active = torch.zeros(few, dtype=torch.bool)
    active[NECK] = active[TRANSLATION] = True
    unknowns = unknowns.clone()
    unknowns[:, :few], _ = fit_frames(problem.pose_only(), unknowns[:, :few], active, iterations)
    return unknowns


def _fit_all(
    head: HeadModel,
    problem: Problem,
    unknowns: Tensor,
    clip: _Clip,
    shown: np.ndarray,
    cuts: np.ndarray,
    pixels: np.ndarray,
    timestamps: np.ndarray,
    options: FitOptions,
) -> tuple[Problem, Tensor, np.ndarray, np.ndarray]:
    """Every frame by itself, then all together: (problem, unknowns of shown frames [B,P], valid [F], segments [F])."""
    everything = torch.ones(unknowns.shape[1], dtype=torch.bool)
    telling = torch.as_tensor(pts.telling_points())
    unknowns = _fit_poses(problem.landmarks(telling), unknowns, 4)
    problem = _reweighted(problem, clip, unknowns)
    unknowns, _ = fit_frames(problem.landmarks(telling), unknowns, everything, 4)
    problem = _reweighted(problem, clip, unknowns)

    error = landmark_errors(problem, unknowns, clip.eye_distance)
    good = error < LOST
    if not good.any():
        raise NoFaceError(
            "Faces were detected, but none could be fitted. Check that the clip shows a person's face, upright."
        )
    valid = np.zeros(len(cuts), bool)
    valid[shown[good]] = True
    eye_distance = np.ones(len(cuts))
    eye_distance[shown] = clip.eye_distance
    segments = prepare.segments_of(valid, cuts | prepare.shot_cuts(pixels, valid, eye_distance), timestamps)
    if options.smoothing > 0:
        smooth = make_smoothness(
            segments[shown], timestamps[shown], usual_stiffness(head.expression_names, options.smoothing)
        )
        unknowns = fit_together(problem.landmarks(telling), unknowns, torch.as_tensor(good), everything, smooth)
    return problem, unknowns, valid, segments


def landmark_errors(problem: Problem, unknowns: Tensor, eye_distance: np.ndarray) -> np.ndarray:
    """[B]: mean distance of visible, usable landmarks from the detected ones, over the distance between the eyes."""
    world = landmark_positions(problem.model, unknowns, problem.root)
    flat = (
        torch.stack([world[..., 0], -world[..., 1]], -1) / (-world[..., 2:]).clamp_min(0.02) * problem.focal
        + problem.centre
    )
    distance = (flat - problem.pixels).norm(dim=-1)
    visible = (problem.weights > 0.05 * torch.as_tensor(pts.landmark_confidence())) & (problem.model.usable > 0)
    mean = (distance * visible).sum(1) / visible.sum(1).clamp_min(1)
    return mean.numpy() / np.maximum(eye_distance, 1e-6)


def _result(
    head: HeadModel,
    head_source: str,
    problem: Problem,
    unknowns: Tensor,
    shape: Tensor,
    offsets: Tensor,
    valid: np.ndarray,
    segments: np.ndarray,
    clip: _Clip,
    shown: np.ndarray,
    timestamps: np.ndarray,
    size: tuple[int, int],
) -> Performance:
    good = valid[shown]
    errors = landmark_errors(problem, unknowns, clip.eye_distance)[good]
    distance = float(-unknowns[torch.as_tensor(good), 5].median())
    moved = unknowns.clone()
    moved[:, 5] += distance
    nearest = nearest_valid(valid)
    row_of = np.zeros(len(valid), int)
    row_of[shown] = np.arange(len(shown))
    values = moved[torch.as_tensor(row_of[nearest])].numpy()
    frames = len(valid)
    K = np.eye(3, dtype=np.float32)
    K[0, 0] = K[1, 1] = float(problem.focal)
    K[:2, 2] = problem.centre.numpy()
    viewmat = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
    viewmat[2, 3] = distance
    eyes = np.zeros((frames, 2, 3), np.float32)
    eyes[:, :, :2] = values[:, EYES].reshape(frames, 2, 2)
    return Performance(
        head=head.name,
        head_source=head_source,
        width=size[0],
        height=size[1],
        timestamps=np.asarray(timestamps, np.float64),
        valid=valid,
        shape=shape.numpy(),
        vertex_offsets=offsets.numpy(),
        expression=values[:, EXPRESSION],
        root_pose=np.repeat(problem.root.numpy()[None], frames, 0),
        neck_pose=values[:, NECK],
        jaw_pose=values[:, JAW],
        eyes_pose=eyes,
        eyelids=values[:, EYELIDS],
        translation=values[:, TRANSLATION],
        K=K,
        viewmat=viewmat,
        expression_names=tuple(head.expression_names),
        head_model=head.model_id,
        head_family=head.family,
        figures={
            "landmark_error": float(errors.mean()),  # of the distance between the eyes
            "landmark_error_worst": float(errors.max()),
            "frames_with_face": int(valid.sum()),
            "frames_without_face": int((~valid).sum()),
            "shots": int(segments.max()) + 1,
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
