# SPDX-License-Identifier: Apache-2.0
"""Fused Adam against its formula in float64 and against torch.optim.Adam, over many steps and awkward gradients."""

from __future__ import annotations

import math

import pytest
import torch

from blendsplat.splatting.adam import FusedAdam, adam_reference

SHAPES = ((1,), (16,), (17, 3), (2, 33, 4), (0, 3), (70001,))


pytestmark = pytest.mark.usefixtures("instruction_set")


def tensors(seed, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g) * scale for shape in SHAPES]


def test_follows_the_formula_in_float64():
    ours, oracle = tensors(0), [t.double() for t in tensors(0)]
    moments = [(torch.zeros_like(t), torch.zeros_like(t)) for t in oracle]
    adam = FusedAdam(ours)
    adam.rates.copy_(torch.logspace(-5, -1, len(SHAPES)))
    for step in range(1, 31):
        grads = tensors(step, scale=10.0 ** (step % 7 - 5))
        adam.step(grads)
        for t, grad, (mean, square), rate in zip(oracle, grads, moments, adam.rates.tolist(), strict=True):
            adam_reference(t, grad.double(), mean, square, step, rate)
    assert adam.steps.tolist() == [30 if t.numel() else 0 for t in ours]
    for got, want, rate in zip(ours, oracle, adam.rates, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=float(rate) * 1e-4)
    for got, (mean, _) in zip(adam.exp_avg, moments, strict=True):
        assert got.numel() == 0 or (got.double() - mean).abs().max() <= 1e-5 * mean.abs().max()
    for got, (_, square) in zip(adam.exp_avg_sq, moments, strict=True):
        torch.testing.assert_close(got.double(), square, rtol=1e-5, atol=1e-36)


@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.999), 1e-15), ((0.0, 0.5), 1e-8), ((0.95, 0.0), 1e-3)])
def test_same_as_torch(betas, eps):
    ours, theirs = tensors(1), [t.clone().requires_grad_() for t in tensors(1)]
    adam, torchs = FusedAdam(ours, betas, eps), torch.optim.Adam(theirs, lr=1e-3, betas=betas, eps=eps)
    for step in range(20):
        grads = tensors(100 + step)
        adam.step(grads)
        for t, grad in zip(theirs, grads, strict=True):
            t.grad = grad
        torchs.step()
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want.detach(), rtol=1e-6, atol=1e-6)


def test_a_parameter_without_gradient_is_not_stepped():
    ours = tensors(2)
    untouched = [t.clone() for t in ours]
    adam = FusedAdam(ours)
    for step in range(4):
        grads = tensors(200 + step)
        adam.step([grad if index % 2 else None for index, grad in enumerate(grads)])
    assert adam.steps.tolist() == [0, 4, 0, 4, 0, 4]
    for index in (0, 2, 4):
        assert torch.equal(ours[index], untouched[index]) and not adam.exp_avg_sq[index].any()
    assert not torch.equal(ours[5], untouched[5])


def test_the_first_step_is_the_rate_whatever_the_gradient():
    parameter, grad = torch.zeros(5), torch.tensor([1e-12, 1e-3, 1.0, -1e4, 1e15])
    adam = FusedAdam([parameter])
    adam.rates.fill_(0.25)
    adam.step([grad])
    torch.testing.assert_close(parameter, -0.25 * grad.sign(), rtol=2e-3, atol=0)


def test_a_bad_gradient_spoils_only_its_own_element():
    adam, bad = FusedAdam([torch.zeros(40)]), torch.ones(40)
    bad[[3, 17, 39]] = torch.tensor([math.nan, math.inf, -math.inf])
    adam.step([bad])
    spoiled = torch.zeros(40, dtype=torch.bool)
    spoiled[[3, 17, 39]] = True
    assert torch.equal(adam.parameters[0].isnan(), spoiled)
    assert torch.equal(adam.exp_avg[0].isfinite(), ~spoiled)


def test_moments_without_gradient_fade_to_zero_and_not_to_denormal_numbers():
    adam = FusedAdam([torch.zeros(3)])
    adam.step([torch.tensor([1.0, 1e-25, 0.0])])
    for _ in range(900):
        adam.step([torch.zeros(3)])
    assert not adam.exp_avg[0].any()
    assert not ((adam.exp_avg_sq[0] > 0) & (adam.exp_avg_sq[0] < 1.2e-38)).any()


def test_thread_count_changes_nothing(set_threads):
    results = []
    for threads in (1, 2, 5):
        set_threads(threads)
        adam = FusedAdam(tensors(3))
        for step in range(3):
            adam.step(tensors(300 + step))
        results.append([*adam.parameters, *adam.exp_avg, *adam.exp_avg_sq])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_module_parameter_changes_in_place():
    layer = torch.nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    FusedAdam(list(layer.parameters())).step([torch.ones(2, 3), None])
    torch.testing.assert_close(layer.weight.detach(), before - 1e-3)


@pytest.mark.parametrize(
    "grad",
    [torch.zeros(4, 3), torch.zeros(3, 4).double(), torch.zeros(4, 3).T, torch.zeros(3, 4, device="meta")],
    ids=["shape", "dtype", "stride", "device"],
)
def test_bad_gradients_are_named_and_change_nothing(grad):
    adam = FusedAdam([torch.zeros(2), torch.zeros(3, 4)])
    with pytest.raises(ValueError, match=r"grads\[1\]: expected contiguous torch.float32 \[3, 4\] on cpu"):
        adam.step([torch.ones(2), grad])
    assert not adam.parameters[0].any() and not adam.steps.any()


def test_a_raised_flag_leaves_everything_alone():
    """Zero is an ordinary step; anything else is none, not even a count."""
    adam, skip = FusedAdam([torch.ones(40), torch.ones(3, 3)]), torch.zeros(1, dtype=torch.int32)
    grads = [torch.full((40,), 2.0), torch.full((3, 3), torch.nan)]
    adam.step([grads[0], None], skip)
    assert adam.steps.tolist() == [1, 0] and not (adam.parameters[0] == 1).any()
    state = [*adam.parameters, *adam.exp_avg, *adam.exp_avg_sq, adam.steps]
    before = [t.clone() for t in state]
    for raised in (1, -1, 2**31 - 1):
        adam.step(grads, skip.fill_(raised))
        assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))
    with pytest.raises(ValueError, match=r"skip: expected contiguous torch.int32 \[1\]"):
        adam.step(grads, torch.zeros(1))


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least one"):
        FusedAdam([])
    with pytest.raises(ValueError, match=r"parameters\[0\]: expected contiguous torch.float32"):
        FusedAdam([torch.zeros(3).half()])
    with pytest.raises(ValueError, match="betas"):
        FusedAdam([torch.zeros(3)], betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="one for each parameter"):
        FusedAdam([torch.zeros(3)]).step([])
