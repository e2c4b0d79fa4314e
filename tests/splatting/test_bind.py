# SPDX-License-Identifier: Apache-2.0
"""Blend-and-bind against plain torch in float64: values and every gradient, for all batch sizes and tails of blocks."""

from __future__ import annotations

import itertools

import pytest
import torch

from blendsplat.heads.tangent_frames import tangent_frames, tangent_frames_reference, uv_edges
from blendsplat.splatting import bind as bind_module
from blendsplat.splatting.bind import Carrier, blend_and_bind, blend_and_bind_reference

pytestmark = pytest.mark.usefixtures("instruction_set")
WIDTHS = (3, 4, 3)
SURFACE = ("vertices", "frames", "frame_quats")


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
    surface = [t.detach().to(dtype).requires_grad_() for t in (carrier.vertices, carrier.frames, carrier.frame_quats)]
    carrier = Carrier(*surface, carrier.triangle, carrier.corners, carrier.barycentrics.to(dtype))
    outputs = function(tuple(leaves[:3]), tuple(leaves[3:]), weights, carrier)
    g = torch.Generator().manual_seed(5)
    sum((out * torch.randn(out.shape, generator=g).to(dtype)).sum() for out in outputs).backward()
    grads = [leaf.grad for leaf in (*leaves, *surface)] + ([] if weights is None else [weights.grad])
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
    assert all(grad is None for grad in fast[1][3:6])


def test_thread_count_changes_nothing(set_threads):
    arguments = problem(6, 200, 4)
    found = []
    for count in (1, 2, 7):
        set_threads(count)
        values, grads = results(blend_and_bind, *arguments, torch.float32)
        found.append([*values, *grads])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("wanted", list(itertools.product((False, True), repeat=3))[1:], ids=str)
def test_each_part_of_the_surface_gets_its_gradient_only_where_it_asks(wanted, monkeypatch):
    """By the kernels: the plain version is out of reach."""
    base, deltas, weights, carrier = problem(3, 40, 4)
    all_grads = results(blend_and_bind_reference, base, deltas, weights, carrier, torch.float64)[1]
    want = dict(zip(SURFACE, all_grads[6:9], strict=True))
    monkeypatch.setattr(bind_module, "blend_and_bind_reference", None)
    surface = [getattr(carrier, name).requires_grad_(asks) for name, asks in zip(SURFACE, wanted, strict=True)]
    outputs = blend_and_bind(tuple(base), tuple(deltas), weights, carrier)
    g = torch.Generator().manual_seed(5)
    sum((out * torch.randn(out.shape, generator=g)).sum() for out in outputs).backward()
    for name, asks, tensor in zip(SURFACE, wanted, surface, strict=True):
        assert (tensor.grad is not None) == asks
        assert_same([tensor.grad], [want[name] if asks else None])
    assert all(t.grad is None for t in (*base, *deltas, weights))


def test_triangles_and_vertices_that_carry_nothing_get_zeros():
    base, deltas, weights, carrier = problem(2, 50, 2)
    keep = carrier.triangle == carrier.triangle[0]
    alone = Carrier(
        *(getattr(carrier, name).requires_grad_() for name in SURFACE),
        carrier.triangle[keep], carrier.corners[keep], carrier.barycentrics[keep],
    )  # fmt: skip
    means, quats, _ = blend_and_bind(
        tuple(t[keep] for t in base), tuple(t[:, keep] for t in deltas), weights, alone
    )  # fmt: skip
    (means.square().sum() + quats.square().sum()).backward()
    face, corners = int(carrier.triangle[0]), alone.corners[0]
    for grad in (alone.frames.grad.flatten(2), alone.frame_quats.grad):
        others = torch.arange(grad.shape[1]) != face
        assert grad[:, face].all() and not grad[:, others].any()
    touched = torch.zeros(alone.vertices.shape[1], dtype=torch.bool).index_fill(0, corners, True)
    assert alone.vertices.grad[:, touched].any(-1).all() and not alone.vertices.grad[:, ~touched].any()


def test_gradients_to_vertices_through_frames_and_binding():
    """What autograd users chain: heads.tangent_frames, then blend_and_bind, both by kernels; float64 is the judge."""
    base, deltas, weights, carrier = problem(2, 60, 3)
    faces = torch.stack([torch.randperm(30, generator=torch.Generator().manual_seed(i))[:3] for i in range(17)])
    uvs = torch.rand(30, 2, generator=torch.Generator().manual_seed(1))

    def gradient(frames_of, bind, dtype):
        vertices = carrier.vertices.detach().clone().to(dtype).requires_grad_()
        surface = Carrier(
            vertices, *frames_of(vertices), carrier.triangle, faces[carrier.triangle], carrier.barycentrics.to(dtype)
        )  # fmt: skip
        outputs = bind(
            tuple(t.to(dtype) for t in base), tuple(t.to(dtype) for t in deltas), weights.to(dtype), surface
        )  # fmt: skip
        g = torch.Generator().manual_seed(5)
        sum((out * torch.randn(out.shape, generator=g).to(dtype)).sum() for out in outputs).backward()
        return vertices.grad

    got = gradient(lambda v: tangent_frames(v, faces, uvs, faces), blend_and_bind, torch.float32)
    edges = uv_edges(uvs, faces)
    want = gradient(
        lambda v: tangent_frames_reference(v, faces, edges.double()), blend_and_bind_reference, torch.float64
    )
    assert (got.double() - want).abs().max() <= 1e-4 * want.abs().max()


def test_gradient_of_the_surface_agrees_with_finite_differences():
    base, deltas, weights, carrier = problem(1, 25, 2)
    leaves = [getattr(carrier, name).requires_grad_() for name in SURFACE]
    g = torch.Generator().manual_seed(8)
    means, quats, _ = blend_and_bind(tuple(base), tuple(deltas), weights, carrier)
    factors = [torch.randn(out.shape, generator=g) for out in (means, quats)]
    ((means * factors[0]).sum() + (quats * factors[1]).sum()).backward()
    for place, leaf in enumerate(leaves):
        direction = torch.randn(leaf.shape, generator=g)
        values = []
        for step in (1e-2, -1e-2):  # the outputs are linear in the surface, so a large step is exact
            moved = [t.detach() + (step * direction if i == place else 0) for i, t in enumerate(leaves)]
            there = Carrier(*moved, carrier.triangle, carrier.corners, carrier.barycentrics)
            out = blend_and_bind(tuple(base), tuple(deltas), weights, there)
            values.append(sum((o.double() * f.double()).sum() for o, f in zip(out[:2], factors, strict=True)))
        slope = float(values[0] - values[1]) / 2e-2
        assert slope == pytest.approx(float((leaf.grad * direction).sum()), rel=2e-3, abs=1e-2)


def test_bindings_that_changed_in_place_are_looked_at_again():
    base, deltas, weights, carrier = problem(1, 12, 1)
    carrier.frame_quats.requires_grad_()
    for _ in range(2):
        carrier.frame_quats.grad = None
        blend_and_bind(tuple(base), tuple(deltas), weights, carrier)[1].sum().backward()
        used = torch.zeros(17, dtype=torch.bool).index_fill(0, carrier.triangle, True)
        assert torch.equal(carrier.frame_quats.grad[0].any(-1), used)
        carrier.triangle.copy_((carrier.triangle + 5) % 17)


def test_no_gaussians():
    base, deltas, weights, carrier = problem(2, 0, 3)
    assert blend_and_bind(tuple(base), tuple(deltas), weights, carrier)[1].shape == (2, 0, 4)
