# SPDX-License-Identifier: Apache-2.0
"""What is made of every frame once: smaller pictures, posed heads, the condition; and frames that come and go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blendsplat.avatars.dipguava.model import condition_layout
from blendsplat.training.dipguava.trainer import DipGuavaTrainer
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.tracked_clip import TrackedClip
from tiny_dipguava_training import dipguava, steps, trainer_of


def test_low_resolution_is_for_stage_1(tracked_clip: TrackedClip, monkeypatch) -> None:
    sizes: list[tuple[int, int]] = []
    honest = DipGuavaTrainer._loss_of

    def noted(self: DipGuavaTrainer, batch: int):
        loss, cameras = honest(self, batch)
        sizes.append((cameras.width, cameras.height))
        return loss, cameras

    monkeypatch.setattr(DipGuavaTrainer, "_loss_of", noted)
    for changes, small in (({}, 10), ({"low_resolution_images": 12}, 3), ({"low_resolution_images": 10**6}, 10)):
        sizes.clear()
        steps(trainer_of(tracked_clip, dipguava(low_resolution=0.5, **changes)), 20)
        assert sizes == [(16, 16)] * small + [(32, 32)] * (20 - small)


def test_small_pictures_are_the_mean_of_large_ones_and_seen_from_the_same_place(tracked_clip: TrackedClip) -> None:
    trainer = trainer_of(tracked_clip, dipguava(low_resolution=0.5))
    store, camera = trainer._present()
    quarter = trainer.data.premultiplied.float().view(8, 16, 2, 16, 2, 3).mean((2, 4))
    assert (store.premultiplied.float() - quarter).abs().max() <= 0.51
    assert (camera.width, camera.height) == (16, 16) and store.numbers == trainer.data.numbers
    torch.testing.assert_close(camera.K[:2], trainer.avatar.camera.K[:2] / 2)


def test_what_the_tracking_does_not_confirm_counts_no_more_in_small_pictures(tracked_clip: TrackedClip) -> None:
    weights, data = torch.linspace(0.5, 1.5, 8), tracked_clip.load(list(range(8)), 32, 32)
    data.weigh(weights)
    trainer = DipGuavaTrainer(tracked_clip.head, tracked_clip.camera(32), data, dipguava(low_resolution=0.5))
    rows = list(range(8))
    torch.testing.assert_close(trainer._present()[0].batch(rows).weights, data.batch(rows).weights)


def test_posing_in_every_step_gives_nearly_the_same_as_posing_before(tracked_clip: TrackedClip, monkeypatch) -> None:
    """Kept normal maps are half precision."""
    losses = []
    for budget in (2**30, 0):
        monkeypatch.setattr("blendsplat.training.dipguava.frames.BUDGET", budget)
        trainer = trainer_of(tracked_clip, dipguava())
        assert (len(trainer.known.vertices) == 0) == (budget == 0)
        losses.append(steps(trainer, 3))
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


def test_frames_arrive_while_it_trains_and_the_oldest_go(tracked_clip: TrackedClip) -> None:
    source = tracked_clip.load(list(range(12)), 32, 32)
    planes = torch.cat([source.premultiplied, source.alpha[..., None], source.valid[..., None]], -1)
    data = FrameStore(6, 32, 32, source.params)
    data.add(range(4), planes[:4], source.params[[0, 1, 2, 3]])
    preset = dipguava(
        sampler="online", online_images_per_frame=2, online_local_pool=3, fit_exposure=True, low_resolution=0.5
    )
    trainer = DipGuavaTrainer(tracked_clip.head, tracked_clip.camera(32), data, preset)
    losses = steps(trainer, 1)
    for number in range(4, 12):
        trainer.exposure.values.data[number % 6] = 5.0
        data.add([number], planes[[number]], source.params[[number]])
        assert not trainer.exposure.values[number % 6].any(), "nothing is known of the new frame's exposure"
        losses += steps(trainer, 1)
    assert np.isfinite(losses).all() and trainer.small is not None and trainer.small.numbers == data.numbers
    everything = DipGuavaTrainer(tracked_clip.head, tracked_clip.camera(32), source, preset)
    assert everything.small is not None
    for row, number in enumerate(data.numbers):
        torch.testing.assert_close(trainer.known.vertices[row], everything.known.vertices[number])
        assert torch.equal(trainer.known.normals[row], everything.known.normals[number])
        assert torch.equal(trainer.small.premultiplied[row], everything.small.premultiplied[number])


@pytest.mark.parametrize("before", [6, 9, 13], ids=["full", "wrapped", "wrapped twice"])
def test_smaller_pictures_of_a_ring_that_went_round_before_lie_where_the_large_ones_do(
    before: int, tracked_clip: TrackedClip
) -> None:
    source = tracked_clip.load(list(range(15)), 32, 32)
    planes = torch.cat([source.premultiplied, source.alpha[..., None], source.valid[..., None]], -1)
    data = FrameStore(6, 32, 32, source.params)
    for number in range(before):
        data.add([number], planes[[number]], source.params[[number]])
    trainer = DipGuavaTrainer(tracked_clip.head, tracked_clip.camera(32), data, dipguava(low_resolution=0.5))
    for number in range(before, 15):
        data.add([number], planes[[number]], source.params[[number]])
    assert trainer.small is not None and trainer.small.numbers == data.numbers
    quarter = data.premultiplied.float().view(6, 16, 2, 16, 2, 3).mean((2, 4))
    assert (trainer.small.premultiplied.float() - quarter).abs().max() <= 0.51
    assert torch.equal(trainer.small.params.expression, data.params.expression)


def test_the_condition_is_standardised_by_the_clip(tracked_clip: TrackedClip) -> None:
    trainer = trainer_of(tracked_clip, dipguava(), frames=11)
    values = trainer.avatar.condition(trainer.data.params)
    torch.testing.assert_close(values.mean(0), torch.zeros(values.shape[1]), atol=1e-5, rtol=0)
    start = 0
    for name, size in condition_layout(trainer.avatar.head, trainer.avatar.settings):
        spread = values[:, start : start + size].std(0, unbiased=False).square().mean().sqrt()
        start += size
        assert float(spread) == pytest.approx(1 if name in ("expression", "neck") else 0, abs=1e-4), name
    raw = trainer_of(tracked_clip, dipguava(standardise_condition=False)).avatar
    assert not raw.condition_shift.any() and (raw.condition_scale == 1).all()
