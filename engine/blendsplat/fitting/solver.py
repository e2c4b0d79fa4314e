# SPDX-License-Identifier: Apache-2.0
"""The least-squares problem of fitting landmarks, and its solution frame by frame with Levenberg-Marquardt.

Energy of a frame: rho * sum_l w_l c^2 log(1 + |r_l|^2 / c^2) + prior, with r in units of the detector's noise; Cauchy's
loss is minimised by reweighting, bounds by projected steps (Bertsekas 1982). All frames of a call move together.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from blendsplat.fitting.landmark_model import (
    EXPRESSION,
    EYELIDS,
    EYES,
    JAW,
    LIDS,
    LandmarkModel,
    project_with_jacobian,
)
from blendsplat.landmarks import points as pts

NOISE = 0.02  # error of a detector and of a head's likeness, as a part of the distance between the eyes
CAUCHY = 3.0  # residuals beyond this many sigmas stop counting fully
INDEPENDENCE = 0.1  # landmark errors come in clumps: 478 points count as this part of them
PAIR_WEIGHT = 2.0  # of the openings of lids and lips
CHUNK = 48  # frames solved together
PICTURE_CHUNK, PICTURE_THREADS = 8, 2  # the same where pictures are compared, whose arrays are large; side by side

_T = TypeVar("_T")


class ShapeTerm(Protocol):
    """Residuals that are no landmarks: a matte's border, an outline, the picture's colours."""

    def rows(
        self, unknowns: Tensor, root: Tensor, focal: Tensor, centre: Tensor, eyes: Tensor, clip: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Cost [B], weighted residuals [B,N], their derivatives by the frame's [B,N,P] and clip's [B,N,S+1] unknowns.

        clip: shape coefficients to build in; eyes [B]: pixels between the eyes.
        """
        ...

    def frames(self, rows: Tensor | slice) -> ShapeTerm:
        """The same term of some of its frames."""
        ...


@dataclass
class Problem:
    """B frames to fit. The camera is at the origin, looking along -z; focal in pixels (a scalar tensor)."""

    model: LandmarkModel
    root: Tensor  # [3] rotation vector of the torso
    focal: Tensor  # []
    centre: Tensor  # [2]
    pixels: Tensor  # [B,L,2] observed
    sigma: Tensor  # [B] pixels that count as one unit of error
    weights: Tensor  # [B,L]
    precision: Tensor  # [P,P] of the prior
    mean: Tensor  # [B,P] of the prior: zero, or what a regressor saw in the frame
    lower: Tensor  # [P]
    upper: Tensor  # [P]
    pairs: Tensor  # [N,2] landmark rows whose difference counts too
    pair_weight: float = PAIR_WEIGHT
    terms: tuple[ShapeTerm, ...] = ()  # what else the head must agree with
    held: Tensor | None = None  # [B,P] what somebody says of these frames
    hold: Tensor | None = None  # [B,P] how surely: 1 / sigma^2 of each number, 0 where nothing is said

    def landmarks(self, rows: Tensor) -> Problem:
        """The same problem through some landmarks, which hold all of the pairs'; the others' votes go to them."""
        place = torch.full((self.pixels.shape[1],), -1)
        place[rows] = torch.arange(len(rows))
        share = self.weights.sum(1, keepdim=True) / self.weights[:, rows].sum(1, keepdim=True).clamp_min(1e-6)
        return replace(
            self, model=self.model.selected(rows), pixels=self.pixels[:, rows], weights=self.weights[:, rows] * share,
            pairs=place[self.pairs], pair_weight=self.pair_weight,
        )  # fmt: skip

    def pose_only(self) -> Problem:
        """The same problem of neutral faces: P = 15 unknowns, without the expression."""
        few = EXPRESSION.start
        directions, joints = self.model.directions[..., :LIDS], self.model.joint_directions[..., :LIDS]
        model = replace(self.model, directions=directions, joint_directions=joints)
        return replace(
            self, model=model, precision=self.precision[:few, :few], mean=self.mean[:, :few], lower=self.lower[:few],
            upper=self.upper[:few], held=None if self.held is None else self.held[:, :few],
            hold=None if self.hold is None else self.hold[:, :few],
        )  # fmt: skip

    def frames(self, rows: Tensor | slice) -> Problem:
        """The same problem for some frames."""
        return replace(
            self, pixels=self.pixels[rows], sigma=self.sigma[rows], weights=self.weights[rows], mean=self.mean[rows],
            terms=tuple(term.frames(rows) for term in self.terms),
            held=None if self.held is None else self.held[rows], hold=None if self.hold is None else self.hold[rows],
        )  # fmt: skip


@dataclass
class System:
    """Normal equations of B frames: cost [B], gradient [B,P], Gauss-Newton matrix [B,P,P]."""

    cost: Tensor
    gradient: Tensor
    matrix: Tensor


@dataclass
class ClipSystem(System):
    """The same with the clip's unknowns, shape and log(focal): gradient [S+1], matrix [S+1,S+1], cross [B,P,S+1]."""

    clip_gradient: Tensor
    clip_matrix: Tensor
    cross: Tensor


@dataclass
class _Rows:
    """Weighted residuals [B,R], their derivatives by frames' [B,R,P] and clip's [B,R,S+1] unknowns."""

    values: Tensor
    by_frame: Tensor
    by_clip: Tensor | None


@dataclass
class _Part:
    """What the landmarks, or one term, add to the normal equations: cost [B], gradient [B,P], matrix [B,P,P], and of
    the clip's unknowns gradient [S+1], matrix [S+1,S+1] and cross [B,P,S+1]."""

    cost: Tensor
    gradient: Tensor
    matrix: Tensor
    of_clip: tuple[Tensor, ...]


def prior_precision(model: LandmarkModel, expression_sigma: Tensor) -> Tensor:
    """[P,P]: what is believed of a frame before seeing it. expression_sigma [E]."""
    diagonal = torch.full((model.parameter_count,), 1e-4)
    diagonal[JAW] = torch.tensor([1 / 0.3**2, 1 / 0.03**2, 1 / 0.03**2])
    diagonal[EYES] = 1 / 0.5**2
    diagonal[EYELIDS] = 1.0
    diagonal[EXPRESSION] = 1 / expression_sigma**2
    precision = torch.diag(diagonal)
    # Both eyes look at the same thing: they turn together, a little less exactly sideways than up and down.
    for left, right, sigma in ((EYES.start, EYES.start + 2, 0.02), (EYES.start + 1, EYES.start + 3, 0.05)):
        both = torch.tensor([left, right])
        precision[both[:, None], both] += torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) / sigma**2
    return precision


def landmark_pairs() -> Tensor:
    """[N,2] rows of upper and lower lids and lips."""
    return torch.tensor([*pts.LID_PAIRS, *pts.LIP_PAIRS])


def linearise(problem: Problem, unknowns: Tensor, robust: bool = True) -> System:
    """Normal equations of all frames at ``unknowns`` [B,P]."""
    return _system(problem, unknowns, [make() for make in _parts(problem, unknowns, None, robust)])


def linearise_clip(problem: Problem, unknowns: Tensor, shape: Tensor) -> ClipSystem:
    """The same with the clip's unknowns, at ``shape`` [S] and the problem's focal length. Its parts are made side by
    side, for it has all of its frames at once."""
    makers = _parts(problem, unknowns, shape, True)
    with _side_by_side() as pool:
        parts = list(pool.map(lambda make: make(), makers))
    system = _system(problem, unknowns, parts)
    of_clip = (torch.zeros((), dtype=unknowns.dtype),) * 3
    for part in parts:
        of_clip = of_clip[0] + part.of_clip[0], of_clip[1] + part.of_clip[1], of_clip[2] + part.of_clip[2]
    return ClipSystem(system.cost, system.gradient, system.matrix, *of_clip)


def _system(problem: Problem, unknowns: Tensor, parts: list[_Part]) -> System:
    """The parts' sum, with the frames' prior; always in the same order, so that it rounds alike."""
    cost = parts[0].cost
    for part in parts[1:]:
        cost = cost + part.cost
    gradient, matrix = (unknowns - problem.mean) @ problem.precision, problem.precision
    for part in parts:
        gradient, matrix = gradient + part.gradient, matrix + part.matrix
    if problem.held is None or problem.hold is None:
        return System(cost, gradient, matrix)
    held = problem.hold * (unknowns - problem.held)
    return System(cost, gradient + held, matrix + torch.diag_embed(problem.hold))


def _parts(problem: Problem, unknowns: Tensor, shape: Tensor | None, robust: bool) -> list[Callable[[], _Part]]:
    """What makes the landmarks' part and that of each term. Of their rows, which are large, only products stay."""

    def of_landmarks() -> _Part:
        return _products(*_landmark_rows(problem, unknowns, shape, robust))

    def of_term(term: ShapeTerm) -> _Part:
        eyes = problem.sigma / NOISE
        cost, values, by_frame, by_clip = term.rows(unknowns, problem.root, problem.focal, problem.centre, eyes, shape)
        return _products(cost, _Rows(values, by_frame, by_clip))

    return [of_landmarks, *(partial(of_term, term) for term in problem.terms)]


def _products(cost: Tensor, rows: _Rows) -> _Part:
    transposed = rows.by_frame.transpose(1, 2)
    of_clip: tuple[Tensor, ...] = ()
    if rows.by_clip is not None:
        flat = rows.by_clip.flatten(0, 1)
        of_clip = flat.T @ rows.values.flatten(), flat.T @ flat, transposed @ rows.by_clip
    return _Part(cost, (transposed @ rows.values[..., None])[..., 0], transposed @ rows.by_frame, of_clip)


def _landmark_rows(problem: Problem, unknowns: Tensor, shape: Tensor | None, robust: bool) -> tuple[Tensor, _Rows]:
    """Cost [B], which is the prior's as well, and the rows of landmarks and of the openings of lids and lips."""
    model = problem.model if shape is None else problem.model.shaped(shape)
    projected, jacobian, by_clip = project_with_jacobian(
        model, unknowns, problem.root, problem.focal, problem.centre, shape is not None
    )
    residual = (projected - problem.pixels) / problem.sigma[:, None, None]
    upper, lower = problem.pairs[:, 0], problem.pairs[:, 1]
    gap = residual[:, upper] - residual[:, lower]
    gap_weight = problem.pair_weight * torch.minimum(problem.weights[:, upper], problem.weights[:, lower])
    cost, weight = _robust(residual, problem.weights, robust)
    gap_cost, gap_weight = _robust(gap, gap_weight, robust)
    away = unknowns - problem.mean
    cost = cost + gap_cost + torch.einsum("bp,pq,bq->b", away, problem.precision, away)
    if problem.held is not None and problem.hold is not None:
        cost = cost + (problem.hold * (unknowns - problem.held) ** 2).sum(1)

    # A landmark's two rows share a weight, so weighting by square roots keeps the products symmetric.
    scale = INDEPENDENCE**0.5 / problem.sigma[:, None, None, None]
    weigh = partial(_weighted_rows, weight=weight, gap_weight=gap_weight, upper=upper, lower=lower)
    return cost, _Rows(
        weigh(residual[..., None] * INDEPENDENCE**0.5)[..., 0],
        weigh(jacobian * scale),
        None if by_clip is None else weigh(by_clip * scale),
    )


def _robust(residual: Tensor, weights: Tensor, robust: bool) -> tuple[Tensor, Tensor]:
    """Cost [B] and reweighted weights [B,N] of residuals [B,N,2]."""
    squared = (residual * residual).sum(-1)
    if not robust:
        return INDEPENDENCE * (weights * squared).sum(1), weights
    ratio = squared / CAUCHY**2
    return INDEPENDENCE * (weights * CAUCHY**2 * torch.log1p(ratio)).sum(1), weights / (1 + ratio)


def _weighted_rows(values: Tensor, weight: Tensor, gap_weight: Tensor, upper: Tensor, lower: Tensor) -> Tensor:
    """[B,L,2,X] -> [B,2(L+N),X]: landmark rows, then those of the pairs, each times the root of its weight."""
    gaps = (values[:, upper] - values[:, lower]) * gap_weight.sqrt()[..., None, None]
    return torch.cat([values * weight.sqrt()[..., None, None], gaps], 1).flatten(1, 2)


def free_unknowns(problem: Problem, unknowns: Tensor, gradient: Tensor, active: Tensor) -> Tensor:
    """[B,P] 1 where an unknown may move: wanted, and not pressed against a bound."""
    pressed = ((unknowns <= problem.lower + 1e-6) & (gradient > 0)) | (
        (unknowns >= problem.upper - 1e-6) & (gradient < 0)
    )
    return (active & ~pressed).to(unknowns.dtype)


def damped_step(matrix: Tensor, gradient: Tensor, free: Tensor, damping: Tensor) -> Tensor:
    """Solve (H + damping diag H) x = -g on the free unknowns: matrix [B,P,P], others [B,P], damping [B]."""
    matrix = matrix * free[:, :, None] * free[:, None, :]
    diagonal = torch.diagonal(matrix, dim1=1, dim2=2)
    matrix = matrix + torch.diag_embed(diagonal * damping[:, None] + (1 - free))
    scale = torch.diagonal(matrix, dim1=1, dim2=2).clamp_min(1e-12).rsqrt()
    factor, info = torch.linalg.cholesky_ex((matrix * scale[:, :, None] * scale[:, None, :]).double())
    step = (
        torch.cholesky_solve(-(gradient * free * scale)[..., None].double(), factor)[..., 0].to(gradient.dtype) * scale
    )
    return torch.where((info > 0)[:, None], torch.zeros_like(step), step) * free


def fit_frames(
    problem: Problem, unknowns: Tensor, active: Tensor, iterations: int, robust: bool = True
) -> tuple[Tensor, Tensor]:
    """Minimise every frame's energy over the ``active`` [P] unknowns: (unknowns [B,P], cost [B])."""

    def fitted(rows: slice) -> tuple[Tensor, Tensor]:
        found, system = _fit_chunk(problem.frames(rows), unknowns[rows], active, iterations, robust)
        return found, system.cost

    parts = in_chunks(problem, fitted)
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def fit_frames_with_systems(
    problem: Problem, unknowns: Tensor, active: Tensor, iterations: int
) -> tuple[Tensor, list[System]]:
    """The same: unknowns [B,P], and their normal equations, chunk by chunk, for who goes on from there."""
    parts = in_chunks(
        problem, lambda rows: _fit_chunk(problem.frames(rows), unknowns[rows], active, iterations, robust=True)
    )
    return torch.cat([part[0] for part in parts]), [part[1] for part in parts]


def in_chunks(problem: Problem, work: Callable[[slice], _T]) -> list[_T]:
    """``work`` on the problem's frames, some at a time: two chunks side by side where pictures are compared."""
    size = PICTURE_CHUNK if problem.terms else CHUNK
    rows = [slice(start, start + size) for start in range(0, len(problem.pixels), size)]
    if not problem.terms:
        return [work(part) for part in rows]
    with _side_by_side() as pool:
        return list(pool.map(work, rows))


def _side_by_side() -> ThreadPoolExecutor:
    """Threads of which each computes alone."""
    return ThreadPoolExecutor(PICTURE_THREADS, initializer=torch.set_num_threads, initargs=(1,))


def _fit_chunk(
    problem: Problem, unknowns: Tensor, active: Tensor, iterations: int, robust: bool
) -> tuple[Tensor, System]:
    unknowns = unknowns.clamp(problem.lower, problem.upper)
    system = linearise(problem, unknowns, robust=robust)
    damping = torch.full_like(system.cost, 1e-3)
    for _ in range(iterations):
        free = free_unknowns(problem, unknowns, system.gradient, active)
        tried = (unknowns + damped_step(system.matrix, system.gradient, free, damping)).clamp(
            problem.lower, problem.upper
        )
        after = linearise(problem, tried, robust=robust)
        better = after.cost <= system.cost
        unknowns = torch.where(better[:, None], tried, unknowns)
        system = System(
            cost=torch.where(better, after.cost, system.cost),
            gradient=torch.where(better[:, None], after.gradient, system.gradient),
            matrix=torch.where(better[:, None, None], after.matrix, system.matrix),
        )
        damping = torch.where(better, damping * 0.2, damping * 20).clamp(1e-7, 1e6)
    return unknowns, system
