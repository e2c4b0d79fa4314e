# SPDX-License-Identifier: Apache-2.0
"""A trainer and the store of its frames: not full, growing, empty, another one's; and two trainers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from blendsplat.systems import make_preset
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.presets import Preset
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer
from blendsplat.training.tracked_clip import TrackedClip


def small(**changes) -> Preset:
    return make_preset(
        {"uv_resolution": 14, "image_size": 32, "images": 320, "batch": 4, "blendshapes": 4, "mlp_width": 16} | changes
    )


def partly_filled(tracked: TrackedClip, capacity: int, filled: int) -> tuple[FrameStore, Callable[[list[int]], object]]:
    """A store in which the clip's first frames lie, and what adds others."""
    source = tracked.load(list(range(12)), 32, 32)
    planes = torch.cat([source.premultiplied, source.alpha[..., None], source.valid[..., None]], -1)
    data = FrameStore(capacity, 32, 32, source.params)

    def add(numbers: list[int]) -> object:
        return data.add(numbers, planes[numbers], source.params[numbers])

    add(list(range(filled)))
    return data, add


def test_rows_without_a_frame_have_no_exposure(tiny_clip: Path) -> None:
    """A store that is not full trains as one that is; what Adam knew of a row's frame goes with the frame."""
    tracked = TrackedClip.open(tiny_clip)
    preset, values = small(fit_exposure=True, exposure_rate=5e-3, images=48), []
    for capacity in (4, 40):
        data, _ = partly_filled(tracked, capacity, 4)
        trainer = RGBAvatarTrainer(tracked.head, tracked.camera(32), data, preset)
        while not trainer.done:
            trainer.step()
        assert not trainer.exposure.values[4:].any()
        values.append(trainer.exposure.values[:4].detach())
    torch.testing.assert_close(values[0], values[1], rtol=1e-3, atol=1e-5)
    assert values[0].abs().max() > 1e-3
    ring, add = partly_filled(tracked, 4, 4)
    trainer = RGBAvatarTrainer(tracked.head, tracked.camera(32), ring, preset)
    trainer.step()
    add([4])
    moments = trainer.parameters.moments()["optimiser.exposure.exp_avg_sq"]
    assert not moments[0].any() and moments[1:].any()


def test_an_offline_training_takes_in_what_arrives(tiny_clip: Path) -> None:
    tracked = TrackedClip.open(tiny_clip)
    data, add = partly_filled(tracked, 12, 4)
    trainer, drawn = RGBAvatarTrainer(tracked.head, tracked.camera(32), data, small(images=48)), []
    train_batch = trainer.train_batch
    trainer.train_batch = lambda rows: (drawn.extend(rows), train_batch(rows))[1]
    trainer.step()
    add(list(range(4, 12)))
    while not trainer.done:
        trainer.step()
    assert set(drawn) == set(range(12))


def test_a_trainer_needs_frames_and_a_snapshot_its_own(tiny_clip: Path) -> None:
    tracked = TrackedClip.open(tiny_clip)
    with pytest.raises(ValueError, match="holds no frame"):
        RGBAvatarTrainer(tracked.head, tracked.camera(32), partly_filled(tracked, 4, 0)[0], small())
    many, few = (
        RGBAvatarTrainer(tracked.head, tracked.camera(32), partly_filled(tracked, 12, filled)[0], small())
        for filled in (8, 4)
    )
    many.step()
    before = few.avatar.positions.clone()
    with pytest.raises(RuntimeError, match="had 8, here 4"):
        few.restore(many.snapshot())
    assert torch.equal(few.avatar.positions, before) and few.images == 0


def test_where_nothing_was_seen_nothing_is_dropped(tiny_clip: Path) -> None:
    """A clip whose mattes are empty leaves an avatar with all its Gaussians, not one with none."""
    tracked = TrackedClip.open(tiny_clip)
    data = tracked.load(list(range(4)), 32, 32)
    data.alpha.zero_()
    trainer = RGBAvatarTrainer(tracked.head, tracked.camera(32), data, small(images=40, color_init_images=20))
    count = trainer.avatar.gaussian_count
    while not trainer.done:
        trainer.step()
    assert trainer.finished_avatar().gaussian_count == count


def test_two_trainings_at_once_do_not_disturb_each_other(tiny_clip: Path) -> None:
    tracked, results = TrackedClip.open(tiny_clip), {}

    def train(key: str, seed: int) -> None:
        data, _ = partly_filled(tracked, 8, 8)
        preset = small(images=120, seed=seed, blendshapes_after=8)
        trainer = RGBAvatarTrainer(tracked.head, tracked.camera(32), data, preset)
        while not trainer.done:
            trainer.step()
        results[key] = {name: value.clone() for name, value in trainer.parameters.tensors()}

    train("alone", 1)
    threads = [threading.Thread(target=train, args=(key, seed)) for key, seed in (("first", 1), ("second", 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(value, results["first"][name]) for name, value in results["alone"].items())
    assert not torch.equal(results["first"]["positions"], results["second"]["positions"])
