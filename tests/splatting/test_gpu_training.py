# SPDX-License-Identifier: Apache-2.0
"""The kernels of a training step on a real GPU, against the CPU's on the same numbers."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from tests.splatting import test_bind_pass, test_image_loss

from blendsplat.splatting.adam import FusedAdam
from blendsplat.splatting.bind import BindParameters, BindPass, Carrier
from blendsplat.splatting.image_loss import TargetFrames

pytestmark = pytest.mark.gpu


def assert_close(there, here, tolerance=1e-5):
    assert (there.cpu() - here).abs().max() <= tolerance * here.abs().max().clamp_min(1e-12)


@pytest.mark.parametrize("size", [(1, 65, 20), (10, 5000, 20), (33, 300, 3)], ids=str)
def test_bind(size):
    parameters, weights, carrier = test_bind_pass.bind_problem(*size)
    grads = test_bind_pass.random_grads(*size[:2])
    here = test_bind_pass.run(BindPass(*size, "cpu"), parameters, weights, carrier, grads)
    moved = Carrier(*(getattr(carrier, field.name).cuda() for field in fields(Carrier)))
    there = test_bind_pass.run(
        BindPass(*size, "cuda"), BindParameters(*(t.cuda() for t in parameters)), weights.cuda(), moved,
        type(grads)(*(t.cuda() for t in grads)),
    )  # fmt: skip
    for a, b in zip(there[0], here[0], strict=True):
        assert_close(a, b)
    for name, grad in here[1].items():
        assert_close(there[1][name], grad)
    assert_close(there[2], here[2], 1e-4)


@pytest.mark.parametrize("weights", test_image_loss.WEIGHTS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (512, 512)], ids=str)
def test_image_loss(size, weights):
    image, frames, rows, backgrounds = test_image_loss.problem(4, 3, *size)
    here = test_image_loss.fused(image, frames, rows, backgrounds, *weights)
    moved = TargetFrames(frames.premultiplied.cuda(), frames.alpha.cuda(), frames.valid.cuda())
    there = test_image_loss.fused(image.cuda(), moved, rows.cuda(), backgrounds.cuda(), *weights)
    for a, b in zip(there, here, strict=True):
        assert_close(a, b, 3e-5)


def test_adam():
    g = torch.Generator().manual_seed(0)
    here = [torch.randn(shape, generator=g) for shape in [(1,), (2049,), (20, 3000, 3)] * 15]
    there = [t.cuda() for t in here]
    adams = FusedAdam(here), FusedAdam(there)
    for step in range(4):
        grads = [torch.randn(t.shape, generator=g) if (i + step) % 4 else None for i, t in enumerate(here)]
        adams[0].step(grads)
        adams[1].step([None if grad is None else grad.cuda() for grad in grads])
    assert torch.equal(adams[0].steps, adams[1].steps.cpu())
    for a, b in zip(there, here, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-5, atol=1e-6)
