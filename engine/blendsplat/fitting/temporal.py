# SPDX-License-Identifier: Apache-2.0
"""All frames at once: landmarks' normal equations plus a penalty on acceleration, solved by conjugate gradients.

Acceleration (not speed) is penalised, so a turning head is not held back; each unknown has its own stiffness, and
nothing is smoothed across cuts, gaps or missing frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.landmark_model import EXPRESSION, EYELIDS, EYES, FIXED_PARAMETERS, JAW, NECK, TRANSLATION
from blendsplat.fitting.solver import Problem, System, free_unknowns, in_chunks, linearise

REFERENCE_STEP = 1 / 30  # seconds: accelerations are stated per step of this length
STILL_WORDS = ("brow", "cheek", "nose", "forehead")
QUICK_WORDS = ("blink", "eye", "lid", "wink")


@dataclass
class Smoothness:
    """Second differences a (x[i-1]) + b (x[i]) + c (x[i+1]) of frames inside one run, and what each unknown may do.

    rows [T] middle frames, coefficients [T,3], stiffness [P] = 1 / (usual acceleration)^2.
    """

    rows: Tensor
    coefficients: Tensor
    stiffness: Tensor

    def accelerations(self, values: Tensor) -> Tensor:
        """values [F,P] -> [T,P]."""
        a, b, c = self.coefficients.unbind(1)
        return a[:, None] * values[self.rows - 1] + b[:, None] * values[self.rows] + c[:, None] * values[self.rows + 1]

    def transposed(self, accelerations: Tensor, frames: int) -> Tensor:
        """The adjoint: [T,P] -> [F,P]."""
        result = accelerations.new_zeros(frames, accelerations.shape[1])
        for offset, coefficient in zip((-1, 0, 1), self.coefficients.unbind(1), strict=True):
            result.index_add_(0, self.rows + offset, coefficient[:, None] * accelerations)
        return result

    def apply(self, values: Tensor) -> Tensor:
        """The penalty's matrix times values [F,P]."""
        return self.transposed(self.stiffness * self.accelerations(values), len(values))

    def diagonal(self, frames: int) -> Tensor:
        """[F,P]."""
        counts = self.coefficients.new_zeros(frames)
        for offset, coefficient in zip((-1, 0, 1), self.coefficients.unbind(1), strict=True):
            counts.index_add_(0, self.rows + offset, coefficient**2)
        return counts[:, None] * self.stiffness


def make_smoothness(segments: np.ndarray, timestamps: np.ndarray, stiffness: Tensor) -> Smoothness:
    """Build the penalty for runs [F] (-1: no face) at timestamps [F] seconds, which may be uneven."""
    middle = np.arange(1, max(len(segments) - 1, 1))
    if len(segments) < 3:
        middle = middle[:0]
    inside = (
        (segments[middle] >= 0)
        & (segments[middle - 1] == segments[middle])
        & (segments[middle + 1] == segments[middle])
    )
    rows = middle[inside]
    before = np.maximum(timestamps[rows] - timestamps[rows - 1], 1e-4) / REFERENCE_STEP
    after = np.maximum(timestamps[rows + 1] - timestamps[rows], 1e-4) / REFERENCE_STEP
    # Divided differences, times the root of the time each stands for: a clip's penalty does not depend on its rate.
    length = np.sqrt((before + after) / 2)
    coefficients = (
        np.stack([2 / (before * (before + after)), -2 / (before * after), 2 / (after * (before + after))], 1)
        * length[:, None]
    )
    return Smoothness(torch.as_tensor(rows), torch.as_tensor(coefficients, dtype=torch.float32), stiffness)


def usual_stiffness(expression_names: tuple[str, ...], strength: float = 1.0) -> Tensor:
    """[P] = strength / (usual acceleration per 1/30 s)^2: pose stiff, lips free, blinks (3 to 5 frames) untouched."""
    usual = torch.empty(FIXED_PARAMETERS + len(expression_names))
    usual[NECK] = 0.004
    usual[TRANSLATION] = torch.tensor([0.0006, 0.0006, 0.0008])
    usual[JAW] = 0.04
    usual[EYES] = 0.06
    usual[EYELIDS] = 2.0
    usual[EXPRESSION] = torch.tensor([_usual_of(name) for name in expression_names])
    return strength / usual**2


def _usual_of(name: str) -> float:
    lowered = name.lower()
    if any(word in lowered for word in QUICK_WORDS):
        return 1.0
    return 0.04 if any(word in lowered for word in STILL_WORDS) else 0.15


def fit_together(
    problem: Problem, unknowns: Tensor, valid: Tensor, active: Tensor, smooth: Smoothness, rounds: int = 2,
    systems: list[System] | None = None,
) -> Tensor:  # fmt: skip
    """Minimise landmarks + prior + smoothness over all valid [F] frames' unknowns [F,P] at once.

    systems: the frames' normal equations at ``unknowns``, in pieces, where somebody has them already.
    """
    for _ in range(rounds):
        present = unknowns
        if systems is None:
            systems = in_chunks(problem, lambda rows: linearise(problem.frames(rows), present[rows]))  # noqa: B023
        matrix, gradient = (torch.cat([getattr(part, name) for part in systems]) for name in ("matrix", "gradient"))
        systems = None
        force = gradient + smooth.apply(unknowns)
        free = free_unknowns(problem, unknowns, force, active) * valid[:, None]
        unknowns = (unknowns + _conjugate_gradients(matrix, force, free, smooth)).clamp(problem.lower, problem.upper)
    return unknowns


def _conjugate_gradients(
    matrix: Tensor, force: Tensor, free: Tensor, smooth: Smoothness, iterations: int = 60
) -> Tensor:
    """Solve (H + smoothness) x = -force on the free unknowns, preconditioned by each frame's own block."""
    frames = len(force)
    block = (matrix + torch.diag_embed(smooth.diagonal(frames))) * free[:, :, None] * free[:, None, :]
    factor = torch.linalg.cholesky(block + torch.diag_embed(1e-6 * torch.diagonal(block, dim1=1, dim2=2) + (1 - free)))

    def product(x: Tensor) -> Tensor:
        return ((matrix @ x[..., None])[..., 0] + smooth.apply(x)) * free

    def precondition(x: Tensor) -> Tensor:
        return torch.cholesky_solve(x[..., None], factor)[..., 0] * free

    x = torch.zeros_like(force)
    residual = -force * free
    direction = scaled = precondition(residual)
    energy = first = (residual * scaled).sum()
    for _ in range(iterations):
        if energy <= 1e-8 * first or first == 0:
            break
        moved = product(direction)
        length = energy / (direction * moved).sum().clamp_min(1e-30)
        x = x + length * direction
        residual = residual - length * moved
        scaled = precondition(residual)
        energy, before = (residual * scaled).sum(), energy
        direction = scaled + (energy / before) * direction
    return x
