# SPDX-License-Identifier: Apache-2.0
"""Steps whose gradients are no numbers: left out, counted, and in the end given up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.systems import train_avatar
from blendsplat.training.checkpoint import checkpoint_path, load_checkpoint, training_fingerprint
from blendsplat.training.loss_pass import LossPass
from blendsplat.training.tracked_clip import TrackedClip
from tiny_dipguava_training import GROWING, dipguava, steps, trainer_of, values_of

pytestmark = pytest.mark.usefixtures("few_steps_of_distilling")


def spoil(monkeypatch: pytest.MonkeyPatch, spoiled: set[int]) -> None:
    """The pictures' gradient has a NaN in these calls of the loss."""
    honest, calls = LossPass.__call__, [0]

    def call(self: LossPass, *arguments: Any) -> tuple[Tensor, Tensor | None]:
        grad, other = honest(self, *arguments)
        if calls[0] in spoiled:
            grad[0, 16, 16] = torch.nan
        calls[0] += 1
        return grad, other

    monkeypatch.setattr(LossPass, "__call__", call)


def test_a_step_without_numbers_is_left_out_and_counted(tracked_clip: TrackedClip, monkeypatch) -> None:
    trainer = trainer_of(tracked_clip, dipguava(**GROWING | {"densify_every": 40, "densify_after": 20}))
    spoil(monkeypatch, {2, 3})
    steps(trainer, 2)
    before, moments = values_of(trainer), {n: v.clone() for n, v in trainer.parameters.moments().items()}
    record = {name: value.clone() for name, value in trainer.record.tensors().items()}
    steps(trainer, 2)
    assert trainer.bad_steps == 2 and trainer.images == 16
    assert all(torch.equal(value, before[name]) for name, value in values_of(trainer).items())
    assert all(torch.equal(value, moments[name]) for name, value in trainer.parameters.moments().items())
    assert all(torch.equal(value, record[name]) for name, value in trainer.record.tensors().items()), "nor densified by"
    steps(trainer, 1)
    assert trainer.bad_steps == 0, "only those in a row count"
    while not trainer.done:
        assert trainer.step().loss.isfinite()
    assert all(value.isfinite().all() for value in values_of(trainer).values())


def test_a_training_without_numbers_ends_with_a_sentence_and_keeps_its_checkpoint(
    tiny_clip: Path, tmp_path: Path, monkeypatch
) -> None:
    output, preset = tmp_path / "a.avatar.npz", dipguava(images=120, stage_images=110, checkpoint_seconds=1e-9)
    with monkeypatch.context() as patch:
        spoil(patch, set(range(5, 1000)))
        with pytest.raises(InputError, match=r"no numbers any more.*last checkpoint is kept"):
            train_avatar(tiny_clip, preset, output)
    fingerprint = training_fingerprint(preset, TrackedClip.open(tiny_clip).fingerprint)
    snapshot, note = load_checkpoint(checkpoint_path(output), fingerprint)
    assert snapshot is not None and not note and not output.exists()
    assert all(value.isfinite().all() for value in snapshot.tensors.values() if value.is_floating_point())
    assert train_avatar(tiny_clip, preset, output).resumed_from == snapshot.plain["images"] > 20
