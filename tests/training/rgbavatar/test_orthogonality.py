# SPDX-License-Identifier: Apache-2.0
"""The measure of orthogonality, its gradient against autograd, and the two decompositions against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from blendsplat.training.rgbavatar.orthogonality import add_gradients, orthogonalise, orthogonality


def bases(count: int = 5, gaussians: int = 7, seed: int = 0) -> list[Tensor]:
    """Displacements of places, quaternions and colours whose bases share a direction."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(count, gaussians, width, generator=generator) for width in (3, 4, 3)]
    return [scale * (part + 0.7 * part[:1]) for scale, part in zip((0.01, 0.3, 1.0), made, strict=True)]


def flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten(1) for part in parts], 1)


def test_the_measure_is_the_papers_norm() -> None:
    parts = bases()
    units = torch.nn.functional.normalize(flat(parts).double(), dim=1).T
    assert orthogonality(parts) == pytest.approx(float(torch.linalg.norm(units.T @ units - torch.eye(5))), rel=1e-6)
    lengths = torch.rand(5, 1, 1) + 0.1
    assert orthogonality([part * lengths for part in parts]) == pytest.approx(orthogonality(parts), rel=1e-5)
    same = [part[:1].expand(4, -1, -1) for part in parts]
    assert orthogonality(same) == pytest.approx(12**0.5), "four times the same: twelve cosines of one"
    assert orthogonality([part * torch.tensor([1.0, 0, 0, 0, 0])[:, None, None] for part in parts]) == 0


def test_the_losss_gradient_is_autograds() -> None:
    parts = [part.requires_grad_() for part in bases()]
    units = torch.nn.functional.normalize(flat(parts), dim=1)
    (0.3 * (units @ units.T - torch.eye(5)).square().sum()).backward()
    grads = [torch.ones_like(part) for part in parts]
    add_gradients([part.detach() for part in parts], 0.3, grads)
    for part, grad in zip(parts, grads, strict=True):
        torch.testing.assert_close(grad, 1 + part.grad, atol=1e-5, rtol=1e-4)


def test_bases_that_are_still_zero_have_no_gradient() -> None:
    parts = [torch.zeros(3, 4, 3), torch.zeros(3, 4, 4)]
    parts[0][0, 0, 0] = 1e-3
    grads = [torch.zeros_like(part) for part in parts]
    add_gradients(parts, 1.0, grads)
    assert all(bool((grad == 0).all()) for grad in grads)


def test_the_loss_leads_to_orthogonal_bases() -> None:
    parts = bases()
    lengths = flat(parts).norm(dim=1)
    for _ in range(300):
        grads = [torch.zeros_like(part) for part in parts]
        add_gradients(parts, 1.0, grads)
        for part, grad in zip(parts, grads, strict=True):
            part -= 0.5 * grad
    assert orthogonality(parts) < 0.05
    torch.testing.assert_close(flat(parts).norm(dim=1), lengths, rtol=0.5, atol=0)


@pytest.mark.parametrize("way", ["qr", "schmidt"])
def test_decompositions_are_orthogonal_and_span_what_was_there(way: str) -> None:
    parts = bases()
    before = flat(parts)
    addresses = [part.data_ptr() for part in parts]
    orthogonalise(parts, way)
    after = flat(parts)
    assert [part.data_ptr() for part in parts] == addresses, "in place: a captured step reads there"
    assert orthogonality(parts) < 1e-5
    projected = after.T @ torch.linalg.lstsq(after.T, before.T).solution
    torch.testing.assert_close(projected.T, before, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(after[0], before[0], atol=1e-6, rtol=1e-5)
    assert ((after * before).sum(1) > 0).all(), "none is turned round"
    if way == "qr":
        torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1))
    else:
        assert (after.norm(dim=1)[1:] < before.norm(dim=1)[1:]).all()
        residual = before[1] - before[0] * (before[0] @ before[1]) / (before[0] @ before[0])
        torch.testing.assert_close(after[1], residual, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("way", ["qr", "schmidt"])
def test_what_cannot_be_orthogonal_becomes_zero_not_noise(way: str) -> None:
    parts = bases()
    for part in parts:
        part[2] = part[0] - 2 * part[1]
        part[4] = 0
    orthogonalise(parts, way)
    lengths = flat(parts).norm(dim=1)
    assert lengths[2] == lengths[4] == 0 and (lengths[[0, 1, 3]] > 0.1).all()
    few = [torch.randn(6, 1, 3)]  # more bases than dimensions
    orthogonalise(few, way)
    assert (few[0].flatten(1).norm(dim=1) > 0).sum() == 3 and orthogonality(few) < 1e-5
