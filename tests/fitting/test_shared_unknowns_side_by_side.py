# SPDX-License-Identifier: Apache-2.0
"""The clip's normal equations are made of parts side by side: their sum does not depend on who was first."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
import torch

from blendsplat.fitting import solver
from blendsplat.fitting.landmark_model import restrict_to_vertices
from tiny_clip import tiny_head

FRAMES, POINTS = 5, 12


@dataclass
class Late:
    """A term of random rows that are ready after a while."""

    seed: int
    seconds: float

    def rows(self, unknowns, root, focal, centre, eyes, clip):
        time.sleep(self.seconds)
        random = torch.Generator().manual_seed(self.seed)
        count = unknowns.shape[1]
        cost, values = torch.rand(FRAMES, generator=random), torch.randn(FRAMES, 7, generator=random)
        by_clip = None if clip is None else torch.randn(FRAMES, 7, len(clip) + 1, generator=random)
        return cost, values, torch.randn(FRAMES, 7, count, generator=random), by_clip

    def frames(self, rows):
        return self


@pytest.fixture
def problem() -> solver.Problem:
    torch.manual_seed(3)
    head = tiny_head()
    model = restrict_to_vertices(head, torch.arange(POINTS), 2)
    count = model.parameter_count
    return solver.Problem(
        model, torch.zeros(3), torch.tensor(300.0), torch.tensor([32.0, 32.0]), 64 * torch.rand(FRAMES, POINTS, 2),
        torch.ones(FRAMES), torch.ones(FRAMES, POINTS), torch.eye(count), torch.zeros(FRAMES, count),
        torch.full((count,), -9.0), torch.full((count,), 9.0), torch.tensor([[0, 1]]),
    )  # fmt: skip


def equations(problem: solver.Problem, *terms: Late) -> list[torch.Tensor]:
    unknowns = torch.zeros(FRAMES, problem.model.parameter_count)
    unknowns[:, 5] = -1.0
    problem.terms = terms
    return list(vars(solver.linearise_clip(problem, unknowns, torch.zeros(2))).values())


def test_the_order_of_arrival_changes_no_bit(problem):
    orders = [((1, 0.05), (2, 0.0), (3, 0.0)), ((1, 0.0), (2, 0.05), (3, 0.0)), ((1, 0.0), (2, 0.0), (3, 0.05))]
    first, *others = [equations(problem, *(Late(*each) for each in order)) for order in orders]
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_it_is_the_sum_of_its_parts(problem):
    alone = equations(problem)
    both = equations(problem, Late(1, 0.0))
    cost, values, by_frame, by_clip = Late(1, 0.0).rows(torch.zeros(FRAMES, problem.model.parameter_count), *[None] * 4,
                                                        torch.zeros(2))  # fmt: skip
    added = (
        cost, (by_frame.mT @ values[..., None])[..., 0], by_frame.mT @ by_frame,
        torch.einsum("brs,br->s", by_clip, values), torch.einsum("brs,brt->st", by_clip, by_clip),
        by_frame.mT @ by_clip,
    )  # fmt: skip
    for before, after, more in zip(alone, both, added, strict=True):
        torch.testing.assert_close(after, before + more, rtol=1e-4, atol=1e-3)


def test_a_terms_failure_is_raised(problem):
    class Broken(Late):
        def rows(self, *_):
            raise ValueError("a term is broken")

    with pytest.raises(ValueError, match="a term is broken"):
        equations(problem, Broken(1, 0.0))
