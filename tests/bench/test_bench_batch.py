# SPDX-License-Identifier: Apache-2.0
"""Drawing a batch image by image trains to the same avatar as drawing it at once."""

from __future__ import annotations

import torch

from blendsplat.bench.batch import OneAfterAnother
from blendsplat.bench.plan import Plan
from blendsplat.bench.subject import new_trainer


def test_images_one_after_another_learn_what_the_batch_learns() -> None:
    plan = Plan(torch.device("cpu"), size=24, uv=12, batch=4)
    together, apart = (new_trainer(plan, color_initialisation=False) for _ in range(2))
    singly = OneAfterAnother(apart)
    grads: list[list[torch.Tensor]] = []
    for trainer in (together, apart):
        adam = trainer.parameters.optimiser
        step = adam.step

        def keep(given, skip=None, step=step) -> None:
            grads.append([grad.clone() for grad in given])
            step(given, skip)

        adam.step = keep  # type: ignore[method-assign]
    # backgrounds are drawn for a whole batch and for one image after another from the same numbers
    together.step()
    singly()
    assert together.images == apart.images == 4
    for name, first, second in zip(together.parameters.names, *grads, strict=True):
        torch.testing.assert_close(second, first, atol=1e-3 * float(first.abs().max()) + 1e-12, rtol=1e-3, msg=name)
    for name in ("colors", "mlp.0.weight"):
        moved = dict(together.parameters.tensors())[name]
        assert moved.any() and torch.equal(apart.parameters.optimiser.steps, together.parameters.optimiser.steps)
