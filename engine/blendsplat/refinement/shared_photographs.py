# SPDX-License-Identifier: Apache-2.0
"""Photographs of one person, fitted together to their landmarks and refined together on their pixels.

The samples' colours are the person's, light and white balance each photograph's. Shape, poses and expressions are one
least-squares problem: that of the landmarks, its outline and skin's border (fitting/person_fit.py), and the colours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.fit import SHAPE_DIRECTIONS, expected_unknowns
from blendsplat.fitting.fit_options import FitOptions
from blendsplat.fitting.frame_problem import eyes_pose, frame_problem, observe, one_thread, reweighted
from blendsplat.fitting.landmark_model import (
    EXPRESSION,
    EYELIDS,
    JAW,
    NECK,
    TRANSLATION,
    LandmarkModel,
    landmark_positions,
    pack,
    restrict_to_landmarks,
)
from blendsplat.fitting.person_fit import expected_shape, shape_terms
from blendsplat.fitting.shared_unknowns import ClipPrior, fit_clip_unknowns
from blendsplat.fitting.solver import Problem
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.refinement.appearance import learn_appearance
from blendsplat.refinement.clip_state import IN_CAMERA
from blendsplat.refinement.photometric_term import PhotometricTerm, look_up
from blendsplat.refinement.pictures import Pictures
from blendsplat.refinement.sight import see
from blendsplat.refinement.surface_samples import SurfaceSamples, spread_samples


@dataclass(frozen=True)
class SharedOptions:
    """votes: what one sample of a photograph counts; sizes: pictures' sizes, coarse to fine, parts of the given ones;
    rounds: how often the colours are learned anew at each; seen: in how many photographs a sample must be in sight."""

    samples: int = 2400
    votes: float = 1.5
    sizes: tuple[float, ...] = (0.5, 1.0)
    rounds: int = 3
    iterations: int = 3
    seen: float = 1.5


@dataclass(frozen=True)
class _Person:
    """B photographs before one camera: the problem of their landmarks with the directions of shape [S]."""

    head: HeadModel
    samples: SurfaceSamples
    sample_model: LandmarkModel
    problem: Problem
    unknowns: Tensor  # [B,P]
    shape: Tensor  # [S]


def refine_photographs(
    head: HeadModel, found: Performance, pixels: np.ndarray, pictures: Pictures, fit: FitOptions,
    options: SharedOptions | None = None, progress: Progress | None = None,
) -> Performance:  # fmt: skip
    """``found``, fitted to the landmarks [F,478,2] with ``fit``, moved to what the pictures show as well.

    Photographs that are not valid stay as they are; so does everything where fewer than two are.
    """
    options, progress = options or SharedOptions(), progress or Progress()
    rows = np.flatnonzero(found.valid)
    if len(rows) < 2:
        return found
    shown = torch.as_tensor(rows)
    with one_thread():
        person = _start(head, found, pixels, rows, fit, options)
        prior = _shape_prior(fit, len(person.shape), float(found.K[0, 0]))
        everything = torch.ones(person.unknowns.shape[1], dtype=torch.bool)
        for size in options.sizes:
            small = _chosen(pictures, shown).at_scale(pictures.scale * size)
            for _ in range(options.rounds):
                progress.check()
                term = _picture_term(person, small, options)
                problem = replace(person.problem, terms=(*person.problem.terms, term))
                done = fit_clip_unknowns(
                    problem, person.unknowns, person.shape, everything, prior, options.iterations
                )  # fmt: skip
                person = replace(person, unknowns=done.unknowns, shape=done.shape)
    return _told(person, found, rows)


def _start(
    head: HeadModel, found: Performance, pixels: np.ndarray, rows: np.ndarray, fit: FitOptions, options: SharedOptions
) -> _Person:
    model = restrict_to_landmarks(head, SHAPE_DIRECTIONS)
    count = model.shape_directions.shape[-1]
    shape = torch.as_tensor(found.shape[:count])
    seen = observe(model, pixels[rows].astype(np.float64), rows)
    problem = frame_problem(
        head, model, seen, torch.as_tensor(found.root_pose[0]), float(found.K[0, 0]),
        found.K[:2, 2].astype(np.float64), expected_unknowns(model, fit.prior, rows), fit.expression_sigma,
    )  # fmt: skip
    unknowns = pack(found.params())[torch.as_tensor(rows)].clone()
    unknowns[:, TRANSLATION] += torch.as_tensor(found.viewmat[:3, 3]) * IN_CAMERA
    problem = reweighted(problem, seen, unknowns)
    terms = shape_terms(head, problem, unknowns, rows, fit, None, None, count, None)
    samples = spread_samples(head, options.samples)
    return _Person(
        head, samples, samples.model(head, SHAPE_DIRECTIONS), replace(problem, terms=terms), unknowns, shape
    )  # fmt: skip


def _shape_prior(fit: FitOptions, count: int, focal: float) -> ClipPrior:
    precision = torch.eye(count) * fit.shared_bias / fit.shape_sigma**2
    return ClipPrior(precision, expected_shape(fit.prior, count), float(np.log(focal)), 0.0)


def _chosen(pictures: Pictures, rows: Tensor) -> Pictures:
    assert pictures.zooms is not None and pictures.corners is not None
    return replace(
        pictures, planes=pictures.planes[rows.numpy()], zooms=pictures.zooms[rows], corners=pictures.corners[rows]
    )


def _picture_term(person: _Person, pictures: Pictures, options: SharedOptions) -> PhotometricTerm:
    """What the photographs say where the head is now: each sample's colour, learned from all of them."""
    model = person.sample_model.shaped(person.shape).without_shape()
    world = landmark_positions(model, person.unknowns, person.problem.root)
    flat = torch.stack([world[..., 0], -world[..., 1]], -1) / (-world[..., 2:]).clamp_min(0.02)
    everyone = torch.arange(len(world))
    colours, _, inside = look_up(pictures, everyone, flat * person.problem.focal + person.problem.centre)
    normals, sight = _seen(person, pictures)
    sight = sight * inside
    gains = _white_balance(colours, sight)
    look = learn_appearance(colours / gains[:, None], normals, sight)
    wanted = look.albedo * look.shade(normals, everyone)[..., None] * gains[:, None]
    votes = sight * (look.seen > options.seen) * options.votes
    return PhotometricTerm(person.sample_model, pictures, wanted, look.noise, votes, everyone)


def _seen(person: _Person, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Normals [B,N,3] and sight [B,N] of the samples, each photograph through its own cut."""
    shape = torch.zeros(person.head.shape_count)
    shape[: len(person.shape)] = person.shape
    head = person.head.personalise(shape, torch.zeros_like(person.head.template))
    height, width = pictures.planes.shape[1:3]
    views = []
    for row in range(len(pictures)):
        centre, scale = pictures.place(person.problem.centre[None, None], torch.tensor([row]))
        one = person.unknowns[row : row + 1]
        views.append(
            see(
                head,
                person.samples,
                one,
                person.problem.root,
                person.problem.focal * scale.squeeze(),
                centre[0, 0],
                (width, height),
            )
        )
    return torch.cat([view.normals for view in views]), torch.cat([view.sight for view in views])


def _white_balance(colours: Tensor, sight: Tensor) -> Tensor:
    """[B,3]: how bright each photograph [B,N,3] shows the face in each colour, beside all of them."""
    mean = (colours * sight[..., None]).sum(1) / sight.sum(1, keepdim=True).clamp_min(1e-6)
    return mean.clamp_min(0.02) / mean.mean(0).clamp_min(0.02)


def _told(person: _Person, found: Performance, rows: np.ndarray) -> Performance:
    moved = person.unknowns.clone()
    moved[:, TRANSLATION] -= torch.as_tensor(found.viewmat[:3, 3]) * IN_CAMERA
    values = moved.numpy()
    shape = found.shape.copy()
    shape[: len(person.shape)] = person.shape.numpy()
    new = {
        "expression": values[:, EXPRESSION], "neck_pose": values[:, NECK], "jaw_pose": values[:, JAW],
        "eyes_pose": eyes_pose(values), "eyelids": values[:, EYELIDS], "translation": values[:, TRANSLATION],
    }  # fmt: skip
    changed = {}
    for name, part in new.items():
        changed[name] = getattr(found, name).copy()
        changed[name][rows] = part
    return replace(found, shape=shape, **changed)
