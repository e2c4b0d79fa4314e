# SPDX-License-Identifier: Apache-2.0
"""Blend-and-bind against plain torch in float64: values and every gradient, for all batch sizes and tails of blocks."""

from __future__ import annotations

import pytest
import torch

from blendsplat.splatting.bind import Carrier, blend_and_bind, blend_and_bind_reference

pytestmark = pytest.mark.usefixtures("instruction_set")
WIDTHS = (3, 4, 3)


def problem(images, gaussians, shapes, seed=0):
    g = torch.Generator().manual_seed(seed)
    vertices, faces = 30, torch.randint(0, 30, (17, 3), generator=g)
    triangle = torch.randint(0, 17, (gaussians,), generator=g)
    carrier = Carrier(
        torch.randn(images, vertices, 3, generator=g), torch.randn(images, 17, 3, 3, generator=g),
        torch.randn(images, 17, 4, generator=g), triangle, faces[triangle], torch.rand(gaussians, 3, generator=g),
    )  # fmt: skip
    base = [torch.randn(gaussians, width, generator=g) for width in WIDTHS]
    deltas = [torch.randn(shapes, gaussians, width, generator=g) for width in WIDTHS]
    return base, deltas, torch.randn(images, shapes, generator=g), carrier


def results(function, base, deltas, weights, carrier, dtype):
    leaves = [t.detach().to(dtype).requires_grad_() for t in (*base, *deltas)]
    weights = None if weights is None else weights.detach().to(dtype).requires_grad_()
    surface = [t.to(dtype) for t in (carrier.vertices, carrier.frames, carrier.frame_quats)]
    carrier = Carrier(*surface, carrier.triangle, carrier.corners, carrier.barycentrics.to(dtype))
    outputs = function(tuple(leaves[:3]), tuple(leaves[3:]), weights, carrier)
    g = torch.Generator().manual_seed(5)
    sum((out * torch.randn(out.shape, generator=g).to(dtype)).sum() for out in outputs).backward()
    grads = [leaf.grad for leaf in leaves] + ([] if weights is None else [weights.grad])
    return [out.detach() for out in outputs], grads


def assert_same(given, wanted):
    for got, want in zip(given, wanted, strict=True):
        assert (got is None) == (want is None)
        if got is not None and got.numel():
            assert (got.double() - want).abs().max() <= 1e-5 * want.abs().max().clamp_min(1)


@pytest.mark.parametrize(
    ("images", "gaussians", "shapes"), [(1, 1, 1), (3, 16, 2), (8, 33, 5), (10, 47, 20), (17, 15, 3)]
)
def test_matches_reference(images, gaussians, shapes):
    arguments = problem(images, gaussians, shapes)
    fast = results(blend_and_bind, *arguments, torch.float32)
    slow = results(blend_and_bind_reference, *arguments, torch.float64)
    assert_same(fast[0], slow[0])
    assert_same(fast[1], slow[1])


def test_without_weights_only_the_base_counts():
    base, deltas, _, carrier = problem(5, 21, 4)
    fast = results(blend_and_bind, base, deltas, None, carrier, torch.float32)
    slow = results(blend_and_bind_reference, base, deltas, None, carrier, torch.float64)
    assert_same(fast[0], slow[0])
    assert_same(fast[1], slow[1])
    assert all(grad is None for grad in fast[1][3:])


def test_thread_count_changes_nothing(set_threads):
    arguments = problem(6, 200, 4)
    found = []
    for count in (1, 2, 7):
        set_threads(count)
        values, grads = results(blend_and_bind, *arguments, torch.float32)
        found.append([*values, *grads])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_a_moving_surface_gets_its_gradient_from_torch():
    base, deltas, weights, carrier = problem(2, 9, 3)
    carrier.vertices.requires_grad_()
    blend_and_bind(tuple(base), tuple(deltas), weights, carrier)[0].sum().backward()
    assert carrier.vertices.grad.any()


def test_no_gaussians():
    base, deltas, weights, carrier = problem(2, 0, 3)
    assert blend_and_bind(tuple(base), tuple(deltas), weights, carrier)[1].shape == (2, 0, 4)
