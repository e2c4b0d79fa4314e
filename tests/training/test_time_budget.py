# SPDX-License-Identifier: Apache-2.0
"""Trainings that end after so many minutes: what is decided, from speeds that a made-up clock tells; no test here
measures anything."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from blendsplat.errors import Cancelled, InputError
from blendsplat.jobs.kinds import KINDS
from blendsplat.progress import Progress
from blendsplat.systems import SYSTEMS, list_presets, load_preset, make_preset, read_avatar, train_avatar
from blendsplat.training.dipguava import trainer as dipguava_trainer
from blendsplat.training.dipguava.preset import DipGuavaPreset
from blendsplat.training.dipguava.trainer import DipGuavaTrainer
from blendsplat.training.presets import Preset, training_identity
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer
from blendsplat.training.time_budget import Pace, fitting_factor, measured_pace, parts_of
from blendsplat.training.tracked_clip import TrackedClip
from tiny_dipguava import TINY

TWO_STAGES: dict[str, Any] = {
    "system": "dipguava", "image_size": 32, "images": 200, "stage_images": 120, "batch": 4, "avatar": TINY,
    "lpips_weight": 0.0, "densify_every": 10, "densify_after": 10, "densify_gradient": 1e-9,
    "blendshapes": 4, "low_resolution": 0.5, "low_resolution_images": 40, "position_rate": 1e-2,
}  # fmt: skip
ONE_STAGE: dict[str, Any] = {
    "uv_resolution": 14, "image_size": 32, "images": 300, "batch": 4, "blendshapes": 4, "mlp_width": 16,
    "texel_scale": 0.7, "blendshapes_after": 100, "decay_images": 0, "color_init_images": 40,
}  # fmt: skip
SMALL, LARGE, RESIDUAL, PLAIN, FACTORISING = 0.25, 0.5, 2.0, 0.125, 3.0  # seconds for one; exact in binary


class Clock:
    """Stands still but while something is trained."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pace: float = 1.0) -> None:
        self.seconds, self.pace = 1000.0, pace
        monkeypatch.setattr("blendsplat.training.time_budget.monotonic", lambda: self.seconds)
        monkeypatch.setattr("blendsplat.training.loop.time", SimpleNamespace(monotonic=lambda: self.seconds))
        self._takes(monkeypatch, DipGuavaTrainer, self._two_stages)
        self._takes(monkeypatch, RGBAvatarTrainer, lambda trainer: PLAIN)
        honest = dipguava_trainer.distilled

        def slow(*arguments: Any) -> Any:
            self.seconds += FACTORISING * self.pace
            return honest(*arguments)

        monkeypatch.setattr(dipguava_trainer, "distilled", slow)
        monkeypatch.setattr("blendsplat.training.dipguava.distil.MLP_STEPS", 5)

    def _two_stages(self, trainer: DipGuavaTrainer) -> float:
        if trainer.stage == 2:
            return RESIDUAL
        return SMALL if trainer._present()[0] is trainer.small else LARGE

    def _takes(self, monkeypatch: pytest.MonkeyPatch, trainer: type, seconds: Any) -> None:
        honest = trainer.train_batch

        def train_batch(mine: Any, rows: list[int]) -> Any:
            self.seconds += seconds(mine) * len(rows) * self.pace
            return honest(mine, rows)

        monkeypatch.setattr(trainer, "train_batch", train_batch)


def pace_of(clip: Path, preset: Preset, progress: Progress | None = None) -> Pace:
    tracked = TrackedClip.open(clip)
    make = SYSTEMS[preset.system].trainer

    def begin(frames: Any, chosen: Any) -> Any:
        return make(tracked.head, tracked.camera(32), frames, chosen, "measured")

    return measured_pace(begin, tracked.load(list(range(11)), 32, 32), preset, progress or Progress())


# --- a longer or shorter preset


@pytest.mark.parametrize("factor", [1e-6, 0.013, 0.4, 1.0, 3.3, 250.0])
@pytest.mark.parametrize("preset", list_presets(), ids=lambda preset: preset.name)
def test_all_that_is_counted_in_images_keeps_its_share(preset: Preset, factor: float) -> None:
    scaled = preset.scaled(factor)
    for name in type(preset).model_fields:
        before, after = getattr(preset, name), getattr(scaled, name)
        if name not in preset.counted:
            assert after == before, name
            continue
        assert bool(after) == bool(before), f"{name}: 0 has a meaning of its own"
        assert abs(after - before * factor) <= 1 + (name == "images"), name
    if factor == 1:
        assert scaled == preset


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_count_of_images_is_forgotten(system: str) -> None:
    model = SYSTEMS[system].preset
    named = {name for name in model.model_fields if name.endswith(("images", "_after", "_every", "_per_frame"))}
    assert named == set(model.counted)


def test_the_second_stage_is_never_scaled_away() -> None:
    tight = make_preset(TWO_STAGES | {"images": 121})
    for factor in np.geomspace(1e-4, 10, 200):
        scaled = tight.scaled(float(factor))
        assert isinstance(scaled, DipGuavaPreset) and 0 < scaled.first_images < scaled.images


def test_a_budget_belongs_to_a_checkpoint_and_none_does_not() -> None:
    """Checkpoints from before there were budgets go on."""
    assert "minutes" not in training_identity(load_preset("draft"))
    three, four = (training_identity(load_preset("rgbavatar", {"minutes": minutes})) for minutes in (3, 4))
    assert three != four and three["images"] == 50_000


# --- how much of it fits


def test_the_factor_is_what_is_left_over_what_it_takes() -> None:
    pace = Pace([(100, 0.25), (75, 1.0)], seconds=20.0)
    assert pace.counted == 100 and fitting_factor(pace, 320.0) == 3.0 and fitting_factor(pace, 45.0) == 0.25


@pytest.mark.parametrize("seconds", [20.0, 3.0, -4.0])
def test_a_budget_that_is_over_before_it_begins_is_refused(seconds: float) -> None:
    with pytest.raises(InputError, match=rf"takes 20 seconds here, and {max(seconds, 0):.0f} are left.*give it more"):
        fitting_factor(Pace([(100, 0.25)], seconds=20.0), seconds)


def test_parts_are_where_a_step_costs_something_else() -> None:
    draft = load_preset("dipguava-draft")
    assert parts_of(draft) == [(0, 2160), (2160, 3600), (3600, 6000)]
    fast = load_preset("dipguava-fast")
    assert parts_of(fast) == [(0, 7000), (7000, 8400), (8400, 14_000), (14_000, 24_000)]
    assert parts_of(load_preset("draft")) == [(0, 100), (100, 800), (800, 8000)]
    alone = make_preset(TWO_STAGES | {"avatar": TINY | {"base": "none", "residual_geometry": False}})
    assert parts_of(alone)[-1] == (60, 200), "one stage, densified no longer than with a second"


def test_every_part_and_what_follows_is_measured_by_itself(tiny_clip: Path, monkeypatch) -> None:
    Clock(monkeypatch)
    pace = pace_of(tiny_clip, make_preset(TWO_STAGES))
    assert pace.stages == [(40, SMALL), (20, LARGE), (60, LARGE), (80, RESIDUAL)]
    assert pace.seconds == FACTORISING
    rgb = pace_of(tiny_clip, make_preset(ONE_STAGE))
    assert rgb.stages == [(40, PLAIN), (60, PLAIN), (200, PLAIN)] and rgb.seconds == 0


def test_what_is_measured_is_as_large_as_it_will_have_grown(tiny_clip: Path) -> None:
    tracked, counts = TrackedClip.open(tiny_clip), {}
    for most in (10**5, 100):
        preset = make_preset(TWO_STAGES | {"most_gaussians": most})
        trainer = DipGuavaTrainer(tracked.head, tracked.camera(32), tracked.load(list(range(8)), 32, 32), preset)
        counts[most] = []
        for images in (0, 30, 60, 150):
            trainer.stand_at(images)
            counts[most].append(trainer.avatar.gaussian_count)
        assert torch.isfinite(trainer.step().loss) and trainer.images == 154
    faces = len(tracked.head.faces)
    assert counts[10**5] == [faces, round(1.3 * faces), round(1.6 * faces), round(1.6 * faces)]
    assert counts[100] == [faces, 91, 100, 100]


def test_colours_are_looked_for_before_anything_is_measured(tiny_clip: Path, monkeypatch) -> None:
    """As in a training's first passes: what has none by then is let go of, and what is left is what steps cost."""
    Clock(monkeypatch)
    found, honest = [], RGBAvatarTrainer.train_batch

    def train_batch(trainer: RGBAvatarTrainer, rows: list[int]) -> Any:
        found.append(float(trainer.initialised.float().mean()))
        return honest(trainer, rows)

    monkeypatch.setattr(RGBAvatarTrainer, "train_batch", train_batch)
    pace_of(tiny_clip, make_preset(ONE_STAGE | {"color_init_images": 100}))
    assert found[0] == 0 and min(found[1:]) > 0.9


def test_a_training_of_two_images_is_measured(tiny_clip: Path, monkeypatch) -> None:
    Clock(monkeypatch)
    pace = pace_of(tiny_clip, make_preset(TWO_STAGES).scaled(1e-9))
    assert sum(images for images, _ in pace.stages) == 2 and pace.stages[-1] == (1, RESIDUAL)


# --- a whole training


def decided(output: Path) -> int:
    return int(read_avatar(output)[0]["training"]["images"])


def minutes_for(factor: float, measured: float) -> float:
    """What a training of ``factor`` times TWO_STAGES takes, with what measuring took."""
    counted = 40 * SMALL + 80 * LARGE + 80 * RESIDUAL
    return (measured + FACTORISING + factor * counted) / 60


def measuring_takes(clip: Path, monkeypatch: pytest.MonkeyPatch, pace: float = 1.0) -> float:
    with monkeypatch.context() as patch:
        clock = Clock(patch, pace)
        pace_of(clip, make_preset(TWO_STAGES))
        return clock.seconds - 1000.0


@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_a_training_ends_when_its_minutes_are_over(factor: float, tiny_clip: Path, tmp_path: Path, monkeypatch) -> None:
    minutes = minutes_for(factor, measuring_takes(tiny_clip, monkeypatch))
    clock, output = Clock(monkeypatch), tmp_path / "a.avatar.npz"
    result = train_avatar(tiny_clip, make_preset(TWO_STAGES | {"minutes": minutes}), output)
    assert abs(result.images - 200 * factor) <= 1 and decided(output) == result.images
    assert clock.seconds - 1000.0 == pytest.approx(60 * minutes, abs=8 * RESIDUAL), "a batch of each stage"
    assert result.notes[0] == (
        f"{minutes:g} minutes are enough for {result.images} images here (the preset has 200)."
    )  # fmt: skip


def test_what_was_decided_is_trained_as_if_it_had_been_asked_for_and_goes_on_so(
    tiny_clip: Path, tmp_path: Path, monkeypatch
) -> None:
    """On another day the machine is twice as fast: the training that goes on keeps its schedule."""
    monkeypatch.setattr("blendsplat.training.loop._REPORT_SECONDS", 0)
    minutes = minutes_for(0.5, measuring_takes(tiny_clip, monkeypatch))
    timed, output = make_preset(TWO_STAGES | {"minutes": minutes}), tmp_path / "parts.avatar.npz"

    class CancelAt40(Progress):
        def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
            self.cancelled = stage == "train" and done >= 40

    with monkeypatch.context() as patch, pytest.raises(Cancelled, match="40 of 100 images"):
        Clock(patch)
        train_avatar(tiny_clip, timed, output, CancelAt40())
    with monkeypatch.context() as patch:
        Clock(patch, pace=0.5)
        result = train_avatar(tiny_clip, timed, output)
        assert (result.resumed_from, result.images) == (40, 100) and result.notes == [
            "Continuing after 40 of 100 images."
        ]  # fmt: skip
        whole = tmp_path / "whole.avatar.npz"
        train_avatar(tiny_clip, make_preset(TWO_STAGES).scaled(0.5), whole)
    (_, first), (_, second) = read_avatar(whole), read_avatar(output)
    assert len(first["triangle"]) > 70, "it has grown meanwhile"
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


def test_other_minutes_are_another_training(tiny_clip: Path, tmp_path: Path, monkeypatch) -> None:
    Clock(monkeypatch)
    output = tmp_path / "a.avatar.npz"
    trained = [
        train_avatar(tiny_clip, make_preset(ONE_STAGE | {"minutes": minutes}), output) for minutes in (0.6, 0.6, 0.8)
    ]
    assert trained[1].resumed_from == trained[0].images, "a finished one is not trained again"
    assert trained[2].resumed_from == 0 and "another preset" in trained[2].notes[0] and "0.8" in trained[2].notes[0]
    assert trained[2].images > trained[0].images


def test_cancelled_while_it_measures_it_leaves_nothing(tiny_clip: Path, tmp_path: Path, monkeypatch) -> None:
    clock, progress = Clock(monkeypatch), Progress()
    progress.cancelled = True
    with pytest.raises(Cancelled):
        train_avatar(tiny_clip, make_preset(TWO_STAGES | {"minutes": 9}), tmp_path / "a.avatar.npz", progress)
    assert not list(tmp_path.iterdir()) and clock.seconds == 1000.0, "at once"


def test_the_job_takes_minutes(tiny_clip: Path, tmp_path: Path, monkeypatch) -> None:
    asked: list[Preset] = []

    def train(directory: Path, preset: Preset, *_: Any) -> Any:
        asked.append(preset)
        raise Cancelled

    monkeypatch.setattr("blendsplat.systems.train_avatar", train)
    values = {"directory": tiny_clip, "output": tmp_path / "a.avatar.npz", "preset": "draft"}
    for more in ({}, {"minutes": 2.5}):
        with pytest.raises(Cancelled):
            KINDS["train"].run(KINDS["train"].options.model_validate(values | more), Progress())
    assert [preset.minutes for preset in asked] == [0, 2.5]
