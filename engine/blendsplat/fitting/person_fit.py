# SPDX-License-Identifier: Apache-2.0
"""What a clip's frames share, from a few dozen spread ones: the person's shape and vertex offsets, and the focal length
where it is not known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.face_outline import make_outline
from blendsplat.fitting.face_prior import FacePrior
from blendsplat.fitting.fit_options import KEYFRAMES, FitOptions
from blendsplat.fitting.frame_problem import Observations, fit_poses
from blendsplat.fitting.initial_poses import spread_frames
from blendsplat.fitting.landmark_model import DEPTH, NECK
from blendsplat.fitting.shared_unknowns import ClipPrior, fit_clip_unknowns
from blendsplat.fitting.silhouette import Mattes, make_inside
from blendsplat.fitting.skin_border import Borders, make_border_term, padded
from blendsplat.fitting.solver import Problem, ShapeTerm
from blendsplat.fitting.vertex_offsets import OffsetBasis, offset_basis, with_offsets
from blendsplat.geometry import rotvec_to_matrix
from blendsplat.heads.model import HeadModel
from blendsplat.landmarks import points as pts

INSIDE = 0.4  # weight of one vertex that lies beyond the matte


@dataclass
class Person:
    """shape [S] and vertex offsets [V,3], and how the frames stand with them: a problem whose model and focal length
    they are built into, and unknowns [B,P] carried to that focal length."""

    shape: Tensor
    offsets: Tensor
    problem: Problem
    unknowns: Tensor


def fit_person(
    head: HeadModel, problem: Problem, unknowns: Tensor, seen: Observations, options: FitOptions, mattes: Mattes | None,
    borders: Borders | None = None,
) -> Person:  # fmt: skip
    """Fit what the frames of ``problem`` share, from ``unknowns`` [B,P] in rough poses."""
    rows = torch.as_tensor(choose_keyframes(unknowns, seen, options.keyframes))
    keys, values = problem.frames(rows), unknowns[rows]
    everything = torch.ones(unknowns.shape[1], dtype=torch.bool)
    values = fit_poses(keys, values, 6)

    shape_count = problem.model.shape_directions.shape[-1]
    focal_sigma = 0.0 if options.focal else options.focal_sigma / options.shared_bias**0.5
    precision = torch.eye(shape_count) * options.shared_bias / options.shape_sigma**2
    expected = expected_shape(options.prior, shape_count)
    prior = ClipPrior(precision, expected, float(problem.focal.log()), focal_sigma)
    fit = fit_clip_unknowns(keys, values, expected, everything, prior, 10)
    basis: OffsetBasis | None = None
    if options.offsets:
        basis = offset_basis(head)
        keys = replace(keys, model=with_offsets(problem.model, head, basis))
        whole = torch.block_diag(precision, options.shared_bias * basis.precision)
        expected = torch.cat([expected, torch.zeros(len(basis.precision))])
        prior = replace(prior, shape_precision=whole, shape_mean=expected)
    shown = seen.rows[rows.numpy()]
    terms = shape_terms(head, keys, fit.unknowns, shown, options, mattes, borders, shape_count, basis)
    keys = replace(keys, terms=terms)
    if basis is not None or terms:
        start = torch.cat([fit.shape, torch.zeros(prior.shape_precision.shape[0] - shape_count)])
        fit = fit_clip_unknowns(replace(keys, focal=fit.focal), fit.unknowns, start, everything, prior, 8)
    shape = torch.zeros(head.shape_count)
    shape[:shape_count] = fit.shape[:shape_count]
    offsets = torch.zeros_like(head.template) if basis is None else basis.offsets(fit.shape[shape_count:])
    scaled = unknowns.clone()  # a longer focal length means a head farther away
    scaled[:, DEPTH] = scaled[:, DEPTH] * float(fit.focal / problem.focal)
    fitted = replace(problem, model=keys.model.shaped(fit.shape).without_shape(), focal=fit.focal)
    return Person(shape, offsets, fitted, scaled)


def choose_keyframes(unknowns: Tensor, seen: Observations, count: int = KEYFRAMES) -> np.ndarray:
    """Rows of at most ``count`` frames that differ in pose, mouth, eyes and distance."""
    rotation = unknowns[:, NECK].numpy()
    mouth = (
        np.mean([np.linalg.norm(seen.pixels[:, a] - seen.pixels[:, b], axis=-1) for a, b in pts.LIP_PAIRS], 0)
        / seen.eye_distance
    )
    features = np.column_stack([3 * rotation, mouth, seen.openings, 0.5 * np.log(seen.scales)])
    return spread_frames(features, np.arange(len(unknowns)), count)


def shape_terms(
    head: HeadModel, keys: Problem, unknowns: Tensor, keyframes: np.ndarray, options: FitOptions,
    mattes: Mattes | None, borders: Borders | None, shape_count: int, basis: OffsetBasis | None,
) -> tuple[ShapeTerm, ...]:  # fmt: skip
    """What else the shape must agree with in the clip's frames ``keyframes`` [K]: mattes, outline, skin's border."""
    terms: list[ShapeTerm] = []
    if mattes is not None:
        terms.append(make_inside(head, mattes, keyframes, shape_count, basis, INSIDE))
    if options.outline:
        turned = rotvec_to_matrix(keys.root) @ rotvec_to_matrix(unknowns[:, NECK])
        terms.append(make_outline(keys.model, keys.pixels, turned, options.shared_bias))
    border = None if options.border is None else options.border.frames(keyframes)
    if borders is not None:
        border = padded([borders(int(frame)) for frame in keyframes])
    if border is not None:
        terms.append(make_border_term(head, border, shape_count, basis, options.shared_bias))
    return tuple(terms)


def expected_shape(prior: FacePrior | None, count: int) -> Tensor:
    """[count]: the expected shape."""
    mean = torch.zeros(count)
    if prior is not None:
        known = torch.as_tensor(prior.shape[:count], dtype=torch.float32)
        mean[: len(known)] = known
    return mean
