# SPDX-License-Identifier: Apache-2.0
"""A training that was cancelled goes on as if nothing had been; equal seeds give equal trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.errors import Cancelled
from blendsplat.systems import read_avatar, train_avatar
from blendsplat.training.checkpoint import checkpoint_path, load_checkpoint, training_fingerprint
from blendsplat.training.dipguava.preset import DipGuavaPreset
from blendsplat.training.tracked_clip import TrackedClip
from tiny_clip import tiny_head
from tiny_dipguava_training import GROWING, CancelAfter, dipguava, steps, trainer_of, values_of

pytestmark = pytest.mark.usefixtures("few_steps_of_distilling")


def assert_resumes(preset: DipGuavaPreset, cut: int, clip: Path, folder: Path, monkeypatch) -> dict[str, np.ndarray]:
    """Cancelled after ``cut`` images and gone on with, it has the very numbers of an uninterrupted training."""
    monkeypatch.setattr("blendsplat.training.loop._REPORT_SECONDS", 0)
    whole, parts = folder / "whole.avatar.npz", folder / "parts.avatar.npz"
    train_avatar(clip, preset, whole)
    with pytest.raises(Cancelled, match=f"{cut} of {preset.images}"):
        train_avatar(clip, preset, parts, CancelAfter(cut))
    assert read_avatar(parts)[0]["training"]["images"] == cut, "cancelling leaves a usable avatar"
    assert train_avatar(clip, preset, parts).resumed_from == cut
    (_, first), (_, second) = read_avatar(whole), read_avatar(parts)
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)
    fingerprint = training_fingerprint(preset, TrackedClip.open(clip).fingerprint)
    one, two = (load_checkpoint(checkpoint_path(path), fingerprint)[0] for path in (whole, parts))
    assert one is not None and two is not None and one.plain == two.plain and set(one.tensors) == set(two.tensors)
    for name, value in one.tensors.items():
        assert torch.equal(two.tensors[name], value), name
    return first


@pytest.mark.parametrize("cut", [20, 40, 60], ids=["stage 1", "the border", "stage 2"])
def test_resumed_it_is_the_same_as_uninterrupted(cut: int, tiny_clip: Path, tmp_path: Path, monkeypatch) -> None:
    assert_resumes(dipguava(joint=0.1 * (cut == 60), fit_exposure=cut == 20), cut, tiny_clip, tmp_path, monkeypatch)


@pytest.mark.parametrize("cut", [20, 52], ids=["between two densifications", "grown"])
def test_resumed_while_it_grows(cut: int, tiny_clip: Path, tmp_path: Path, monkeypatch) -> None:
    """After the cut the budget is short, so that who grows depends on what was recorded before and after it."""
    preset = dipguava(**GROWING, extent=1e-3, low_resolution=0.5 if cut == 20 else 1.0, low_resolution_images=12)
    arrays = assert_resumes(preset, cut, tiny_clip, tmp_path, monkeypatch)
    faces = len(tiny_head().faces)
    assert 4 * faces < len(arrays["triangle"]) <= 400 and set(arrays["triangle"].tolist()) == set(range(faces))


def test_a_snapshot_keeps_the_condition_that_the_networks_learned(tracked_clip: TrackedClip) -> None:
    """Where more frames have come since, their own mean and spread would be others."""
    first, second = (trainer_of(tracked_clip, dipguava(), frames) for frames in (8, 11))
    steps(first, 2)
    assert not torch.equal(first.avatar.condition_shift, second.avatar.condition_shift)
    second.restore(first.snapshot())
    assert second.images == 8
    for name in ("condition_shift", "condition_scale", "triangle"):
        assert torch.equal(getattr(second.avatar, name), getattr(first.avatar, name))
    assert second.finished_avatar().stage == 2, "a file's avatar shows all that there is"


def test_a_finished_training_is_not_trained_again(tiny_clip: Path, tmp_path: Path) -> None:
    output, preset = tmp_path / "a.avatar.npz", dipguava(images=16, stage_images=8)
    train_avatar(tiny_clip, preset, output)
    before = read_avatar(output)[1]
    assert train_avatar(tiny_clip, preset, output).resumed_from == 16
    for name, value in read_avatar(output)[1].items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_a_checkpoint_of_other_networks_is_put_aside(tiny_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.avatar.npz"
    train_avatar(tiny_clip, dipguava(images=8, stage_images=4), output)
    result = train_avatar(tiny_clip, dipguava({"mlp_width": 12}, images=8, stage_images=4), output)
    assert result.resumed_from == 0 and "another preset" in result.notes[0]


def test_the_same_seed_gives_the_same_networks_whatever_ran_before(tracked_clip: TrackedClip) -> None:
    torch.manual_seed(1)
    first = values_of(trainer_of(tracked_clip, dipguava()))
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn), "the process's own generator is left as it was"
    second, other = (
        values_of(trainer_of(tracked_clip, dipguava())),
        values_of(trainer_of(tracked_clip, dipguava(seed=5))),
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(first["base.last.weight"], other["base.last.weight"])
