# SPDX-License-Identifier: Apache-2.0
"""What all frames of a clip share: the shape of the head and the focal length, solved over a few dozen spread frames.

Each frame's own unknowns are eliminated first (Schur complement), so the solve is as large as the shape, not the clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blendsplat.fitting.landmark_model import DEPTH
from blendsplat.fitting.solver import ClipSystem, Problem, damped_step, free_unknowns, linearise_clip


@dataclass
class ClipPrior:
    """precision [S,S] and mean [S] of the shape; log_focal +- focal_sigma (0: the focal length is known)."""

    shape_precision: Tensor
    shape_mean: Tensor
    log_focal: float
    focal_sigma: float


@dataclass
class ClipFit:
    shape: Tensor  # [S]
    focal: Tensor  # []
    unknowns: Tensor  # [B,P]
    cost: float


def fit_clip_unknowns(
    problem: Problem, unknowns: Tensor, shape: Tensor, active: Tensor, prior: ClipPrior, iterations: int
) -> ClipFit:
    """Minimise over shape [S], focal and the ``active`` [P] unknowns [B,P] of the given frames.

    problem.model must hold the shape directions and no shape built in; problem.focal is the start.
    """
    clip = torch.cat([shape, problem.focal.log()[None]])
    system, cost = evaluate_clip(problem, unknowns, clip, prior)
    damping = 1e-3
    for _ in range(iterations):
        step, clip_step = _schur_step(problem, system, unknowns, active, prior, damping)
        tried = unknowns + step
        tried[:, DEPTH] += unknowns[:, DEPTH] * (clip_step[-1].exp() - 1)
        tried = tried.clamp(problem.lower, problem.upper)
        tried_clip = clip + clip_step
        after, after_cost = evaluate_clip(problem, tried, tried_clip, prior)
        if after_cost <= cost:
            done = cost - after_cost < 1e-5 * cost
            unknowns, clip, system, cost = tried, tried_clip, after, after_cost
            damping = max(damping * 0.2, 1e-7)
            if done:
                break
        else:
            damping = min(damping * 10, 1e6)
    return ClipFit(clip[:-1], clip[-1].exp(), unknowns, cost)


def evaluate_clip(problem: Problem, unknowns: Tensor, clip: Tensor, prior: ClipPrior) -> tuple[ClipSystem, float]:
    """Normal equations with the clip's prior added, and the whole cost."""
    shape, log_focal = clip[:-1], clip[-1]
    system = linearise_clip(replace(problem, focal=log_focal.exp()), unknowns, shape)
    system = with_dolly(system, unknowns[:, DEPTH])
    away = shape - prior.shape_mean
    by_shape = prior.shape_precision @ away
    cost = float(system.cost.sum() + away @ by_shape)
    system.clip_gradient[:-1] += by_shape
    system.clip_matrix[:-1, :-1] += prior.shape_precision
    if prior.focal_sigma > 0:
        weight = 1 / prior.focal_sigma**2
        cost += weight * float(log_focal - prior.log_focal) ** 2
        system.clip_gradient[-1] += weight * (log_focal - prior.log_focal)
        system.clip_matrix[-1, -1] += weight
    return system, cost


def with_dolly(system: ClipSystem, depths: Tensor) -> ClipSystem:
    """Let a longer focal length carry every head ([B] depths) away in proportion, so that only perspective changes.

    Without it focal length and depths could only follow each other in tiny steps along a curved valley.
    """
    by_depth = system.cross[:, DEPTH]  # [B,S+1]
    system.clip_gradient[-1] += depths @ system.gradient[:, DEPTH]
    system.clip_matrix[-1, -1] += 2 * depths @ by_depth[:, -1] + depths**2 @ system.matrix[:, DEPTH, DEPTH]
    coupled = depths @ by_depth[:, :-1]
    system.clip_matrix[-1, :-1] += coupled
    system.clip_matrix[:-1, -1] += coupled
    system.cross[..., -1] += system.matrix[..., DEPTH] * depths[:, None]
    return system


def _schur_step(
    problem: Problem, system: ClipSystem, unknowns: Tensor, active: Tensor, prior: ClipPrior, damping: float
) -> tuple[Tensor, Tensor]:
    """Steps of the frames [B,P] and of the clip [S+1]."""
    free = free_unknowns(problem, unknowns, system.gradient, active).double()
    matrix = system.matrix.double() * free[:, :, None] * free[:, None, :]
    diagonal = torch.diagonal(matrix, dim1=1, dim2=2)
    matrix = matrix + torch.diag_embed(diagonal * damping + (1 - free))
    cross, gradient = system.cross.double() * free[..., None], system.gradient.double() * free
    solved = torch.linalg.solve(matrix, torch.cat([cross, gradient[..., None]], -1))
    reduced = system.clip_matrix.double() - (cross.transpose(1, 2) @ solved[..., :-1]).sum(0)
    reduced_gradient = system.clip_gradient.double() - (cross.transpose(1, 2) @ solved[..., -1:]).sum(0)[:, 0]
    clip_free = torch.ones_like(reduced_gradient)
    clip_free[-1] = float(prior.focal_sigma > 0)
    step = damped_step(
        reduced[None], reduced_gradient[None], clip_free[None], torch.tensor([damping], dtype=torch.float64)
    )[0]
    step[-1] = step[-1].clamp(-0.3, 0.3)
    frames = -(solved[..., -1] + solved[..., :-1] @ step)
    return frames.to(unknowns.dtype), step.to(unknowns.dtype)
