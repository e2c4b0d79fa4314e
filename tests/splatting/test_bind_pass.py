# SPDX-License-Identifier: Apache-2.0
"""BindPass against autograd of the plain version in float64: every output and gradient, tails of blocks and groups."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tests.splatting.test_bind import problem

from blendsplat.splatting.bind import BindParameters, BindPass, blend_and_bind_reference
from blendsplat.splatting.scene import Gradients

pytestmark = pytest.mark.usefixtures("instruction_set")
SIZES = ((1, 1, 1), (2, 63, 20), (3, 64, 2), (5, 65, 1), (8, 15, 7), (9, 130, 3), (10, 70, 20), (23, 17, 4))


def bind_problem(images, gaussians, shapes, seed=0):
    base, deltas, weights, carrier = problem(images, gaussians, shapes, seed)
    g = torch.Generator().manual_seed(seed + 50)
    log_scales, logits = torch.randn(gaussians, 3, generator=g) * 3 - 7, torch.randn(gaussians, generator=g) * 4
    return BindParameters(base[0], log_scales, base[1], logits, base[2], *deltas), weights, carrier


def random_grads(images, gaussians, seed=3):
    g = torch.Generator().manual_seed(seed)
    shapes = (images, gaussians, 3), (images, gaussians, 4), (1, gaussians, 3), (1, gaussians), (images, gaussians, 3)
    return Gradients(*(torch.randn(shape, generator=g) for shape in shapes))


def oracle(parameters, weights, carrier, grads):
    """(outputs as Gradients orders them, gradients by name, of the weights) in float64."""
    leaves = BindParameters(*(t.detach().double().requires_grad_() for t in parameters))
    weights = None if weights is None else weights.double().requires_grad_()
    surface = {name: getattr(carrier, name).double() for name in ("vertices", "frames", "frame_quats", "barycentrics")}
    means, quats, colors = blend_and_bind_reference(leaves.base, leaves.deltas, weights, replace(carrier, **surface))
    outputs = Gradients(means, quats, leaves.log_scales.exp()[None], leaves.opacity_logits.sigmoid()[None], colors)
    torch.autograd.backward(list(outputs), [grad.double() for grad in grads])
    by_name = {name: leaf.grad for name, leaf in leaves._asdict().items() if leaf.grad is not None}
    return [out.detach() for out in outputs], by_name, None if weights is None else weights.grad


def run(bind, parameters, weights, carrier, grads):
    bind.forward(parameters, weights, carrier)
    bind.backward(grads)
    return list(bind.gaussians.tensors()), bind.grads, bind.grad_weights


def assert_close(got, want, tolerance=1e-5):
    assert got.shape == want.shape
    if got.numel():
        assert (got.double() - want).abs().max() <= tolerance * want.abs().max().clamp_min(1)


def assert_same(got, want):
    for a, b in zip(got[0], want[0], strict=True):
        assert_close(a, b)
    assert got[1].keys() == want[1].keys()
    for name, grad in want[1].items():
        assert_close(got[1][name], grad)
    assert (got[2] is None) == (want[2] is None)
    if want[2] is not None:
        assert_close(got[2], want[2], 1e-4)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_matches_the_oracle(size):
    parameters, weights, carrier = bind_problem(*size)
    grads = random_grads(*size[:2])
    got = run(BindPass(*size, "cpu"), parameters, weights, carrier, grads)
    assert_same(got, oracle(parameters, weights, carrier, grads))


def test_without_weights_only_the_base_learns():
    parameters, weights, carrier = bind_problem(4, 37, 5)
    grads, bind = random_grads(4, 37), BindPass(4, 37, 5, "cpu")
    run(bind, parameters, weights, carrier, grads)  # what it leaves must not be taken for gradients afterwards
    assert_same(run(bind, parameters, None, carrier, grads), oracle(parameters, None, carrier, grads))


def test_no_gaussians_and_no_blendshapes():
    for size in ((3, 0, 4), (3, 33, 0)):
        parameters, weights, carrier = bind_problem(*size)
        grads = random_grads(*size[:2])
        got = run(BindPass(*size, "cpu"), parameters, weights, carrier, grads)
        assert got[2].shape == (3, size[2]) and not got[2].any()
        assert_close(got[1]["positions"], oracle(parameters, None, carrier, grads)[1]["positions"])


def test_buffers_stay_where_they_are_and_every_call_writes_them_anew():
    parameters, weights, carrier = bind_problem(6, 90, 4)
    grads, bind = random_grads(6, 90), BindPass(6, 90, 4, "cpu")
    first = run(bind, parameters, weights, carrier, grads)
    wanted = [t.clone() for t in (*first[0], *first[1].values(), first[2])]
    places = [t.data_ptr() for t in (*first[0], *first[1].values(), first[2])]
    for t in (*first[0], *first[1].values(), first[2]):
        t.fill_(math.nan)
    again = run(bind, parameters, weights, carrier, grads)
    buffers = [*again[0], *again[1].values(), again[2]]
    assert [t.data_ptr() for t in buffers] == places
    assert all(torch.equal(a, b) for a, b in zip(buffers, wanted, strict=True))


def test_thread_count_changes_nothing(set_threads):
    parameters, weights, carrier = bind_problem(7, 1000, 3)
    found = []
    for threads in (1, 2, 5):
        set_threads(threads)
        bind = BindPass(7, 1000, 3, "cpu")
        outputs, grads, grad_weights = run(bind, parameters, weights, carrier, random_grads(7, 1000))
        found.append([*outputs, *grads.values(), grad_weights])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_activations_at_their_ends():
    ends = [200.0, math.inf, -math.inf, math.nan]
    values = torch.tensor([-200.0, -87.0, -80.0, -7.1, -1e-6, 0.0, 1.0, 30.0, 87.5, *ends])
    count = len(values)
    parameters, weights, carrier = bind_problem(1, count, 1)
    parameters = parameters._replace(log_scales=values[:, None].repeat(1, 3), opacity_logits=values)
    bind = BindPass(1, count, 1, "cpu")
    bind.forward(parameters, weights, carrier)
    scales, opacities = bind.gaussians.scales[0, :, 0], bind.gaussians.opacities[0]
    torch.testing.assert_close(scales[1:9].double(), values[1:9].double().exp(), rtol=1e-6, atol=5e-38)
    assert scales[[0, 11]].max() < 1e-37 and scales[[9, 10]].min() > 1e38 and scales[:12].isfinite().all()
    torch.testing.assert_close(opacities[:12].double(), values[:12].double().sigmoid(), rtol=1e-6, atol=1e-37)
    assert scales[12].isnan() and opacities[12].isnan()


def test_bad_arguments_are_named():
    parameters, weights, carrier = bind_problem(2, 9, 3)
    bind, grads = BindPass(2, 9, 3, "cpu"), random_grads(2, 9)
    with pytest.raises(ValueError, match="no forward pass"):
        bind.backward(grads)
    for bad, words in (
        ((parameters._replace(quats=torch.zeros(9, 3)), weights, carrier), r"quats: expected .* \[9, 4\]"),
        ((parameters._replace(delta_colors=parameters.delta_colors.half()), weights, carrier), "delta_colors"),
        ((parameters, weights.T.contiguous().T, carrier), "weights: .* not contiguous"),
        ((parameters, weights[:1], carrier), "weights"),
        ((parameters, weights, replace(carrier, vertices=carrier.vertices[:1])), "carrier.vertices"),
        ((parameters, weights, replace(carrier, corners=carrier.corners + 30)), "carrier.corners: .* from 0 to 29"),
        ((parameters, weights, replace(carrier, triangle=carrier.triangle - 17)), "carrier.triangle"),
    ):
        with pytest.raises(ValueError, match=words):
            bind.forward(*bad)
    bind.forward(parameters, weights, carrier)
    with pytest.raises(ValueError, match=r"grads.scales: expected .* \[1, 9, 3\]"):
        bind.backward(grads._replace(scales=torch.zeros(2, 9, 3)))
