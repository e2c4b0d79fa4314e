# SPDX-License-Identifier: Apache-2.0
"""What drawing a batch at once is worth (RGBAvatar, Table 4): an image a step, one after another, all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from blendsplat.bench.plan import Plan
from blendsplat.bench.report import Row, Table, row
from blendsplat.bench.subject import BATCH, SIZE, UV, new_trainer
from blendsplat.splatting.adam import FusedAdam
from blendsplat.training.loss_pass import LossPass
from blendsplat.training.parameters import Parameters
from blendsplat.training.rgbavatar.step import ClipTensors, Stage, TrainingStep
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer

PAPER_IMAGES = {"batch 1": 151.0, "one after another": 463.0, "batch-parallel": 630.0}  # a second, RTX 3090, Table 4
NOTE = (
    "Milliseconds an image of a whole training step without colour initialisation. Batch 1: a step of Adam for every "
    "image. One after another: the batch's images are drawn singly and their gradients added up for one step of Adam "
    "(the paper's naive batch). Batch-parallel: the training as it is, one launch for all. Paper: RTX 3090, where the "
    "first two wait for the GPU in every image; none of ours does."
)


def batch(plan: Plan) -> list[Table]:
    """The three ways to train on the same images, at the paper's size."""
    images = plan.batch or BATCH
    runs: dict[str, tuple[Callable[[], object], int]] = {
        "batch 1": (_trainer(plan, 1).step, 1),
        "one after another": (OneAfterAnother(_trainer(plan, images)), images),
        "batch-parallel": (_trainer(plan, images).step, images),
    }
    timings = plan.time({name: run for name, (run, _) in runs.items()})
    title = f"UV {plan.uv or UV}, {plan.size or SIZE}x{plan.size or SIZE}"
    rows: list[Row] = []
    for threads in plan.threads:
        for name, (_, count) in runs.items():
            timing = timings[name, threads].per(count)
            extra = {"images/s": 1e3 / timing.median, "paper images/s": PAPER_IMAGES[name]}
            what = f"{title}: {name}" + ("" if count == 1 else f" of {count}")
            rows.append(row(what, threads, timing, extra=extra))
    return [Table("batch", "Batches", NOTE, rows)]


def _trainer(plan: Plan, images: int) -> RGBAvatarTrainer:
    return new_trainer(replace(plan, batch=images), color_initialisation=False)


class OneAfterAnother:
    """Training steps of a trainer whose batches are drawn image by image: the same gradient as its own step's (the mean
    over the images), so the same training."""

    def __init__(self, trainer: RGBAvatarTrainer) -> None:
        self._trainer, avatar, preset = trainer, trainer.avatar, trainer.preset
        parameters = Parameters(trainer.parameter_groups(), trainer.adam_eps)
        self._sums = _SummedGradients(parameters.optimiser.parameters)
        parameters.optimiser = self._sums
        loss = LossPass(trainer.data, 1, avatar.camera.width, avatar.camera.height, preset, None, None)
        self._step = TrainingStep(avatar, parameters, ClipTensors(trainer.inputs, trainer.surfaces), loss)

    def __call__(self) -> None:
        """One step on the sampler's next batch."""
        trainer, sums = self._trainer, self._sums
        rows = trainer.sampler.next_batch(trainer.preset.batch)
        rates = trainer.parameters.rates(trainer.images)
        sums.begin()
        for one in rows:
            self._step.set_inputs([one], trainer.generator, rates)
            self._step.run(Stage(blended=True, perceptual=False))
        trainer.parameters.optimiser.rates.copy_(torch.tensor(rates))
        trainer.parameters.optimiser.step(sums.mean(len(rows)))
        trainer.images += len(rows)


class _SummedGradients(FusedAdam):
    """In Adam's place in a step: adds gradients up instead of following them."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        super().__init__(parameters)
        self._sums = [torch.zeros_like(parameter) for parameter in self.parameters]

    def begin(self) -> None:
        """Forget what was added up."""
        for total in self._sums:
            total.zero_()

    def mean(self, images: int) -> list[Tensor | None]:
        """Of the gradients so far; overwrites their sums."""
        return [total.div_(images) for total in self._sums]

    def step(self, grads: Sequence[Tensor | None], skip: Tensor | None = None) -> None:
        for total, grad in zip(self._sums, grads, strict=True):
            if grad is not None:
                total.add_(grad)
