# SPDX-License-Identifier: Apache-2.0
"""What learns when: two stages, what each leaves alone, their rates, and every ablation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from blendsplat.avatars.dipguava.model import GAUSSIAN_PARAMETERS
from blendsplat.training.tracked_clip import TrackedClip
from tiny_dipguava_training import dipguava, steps, trainer_of, values_of


def test_the_second_stage_improves_on_the_first(tracked_clip: TrackedClip) -> None:
    trainer = trainer_of(tracked_clip, dipguava(images=800, stage_images=400))
    losses = steps(trainer, 200)
    begin, first, last = np.mean(losses[:5]), np.mean(losses[90:100]), np.mean(losses[-10:])
    assert first < 0.6 * begin and last < 0.97 * first, (begin, first, last)
    assert abs(losses[100] - first) < 0.3 * first, "nothing jumps at the border"


def test_stage_2_freezes_base_and_geometry_to_the_bit(tracked_clip: TrackedClip) -> None:
    trainer = trainer_of(tracked_clip, dipguava())
    steps(trainer, 10)
    before = values_of(trainer)
    assert trainer.stage == 2
    steps(trainer, 5)
    for name, value in values_of(trainer).items():
        frozen = name in GAUSSIAN_PARAMETERS or name.startswith("base.")
        assert torch.equal(value, before[name]) == frozen, name


def test_stage_1_leaves_the_residual_alone_and_moves_all_else(tracked_clip: TrackedClip) -> None:
    trainer = trainer_of(tracked_clip, dipguava())
    before = values_of(trainer)
    steps(trainer, 3)
    for name, value in values_of(trainer).items():
        assert torch.equal(value, before[name]) == name.startswith(("residual.", "geometry.")), name


def test_what_is_far_and_large_is_drawn_back_in_both_stages(tracked_clip: TrackedClip) -> None:
    """Equations 13 and 14 alone, without any picture: local coordinates fall to their limits and stop there."""
    alone = {"l1_weight": 0.0, "ssim_weight": 0.0, "position_weight": 1.0, "position_limit": 0.5, "scale_rate": 0.03}
    trainer = trainer_of(tracked_clip, dipguava(**alone, images=240, stage_images=120, position_rate=0.05))
    with torch.no_grad():
        trainer.avatar.positions.normal_(0, 2, generator=torch.Generator().manual_seed(0))
    far = trainer.avatar.positions.norm(dim=-1).mean()
    steps(trainer, 30)
    assert trainer.avatar.log_scales.exp().max() < 0.7 and trainer.avatar.log_scales.exp().min() > 0.3
    assert trainer.avatar.positions.norm(dim=-1).mean() < far - 1
    before, moved = values_of(trainer), trainer.avatar.geometry
    steps(trainer, 5)
    assert not torch.equal(moved.last.weight[:3], before["geometry.last.weight"][:3]), "the second stage's too"
    assert torch.equal(moved.last.weight[6:], before["geometry.last.weight"][6:]), "nothing is asked of rotations"


def test_joint_training_goes_on_with_the_base_and_not_with_the_geometry(tracked_clip: TrackedClip) -> None:
    trainer = trainer_of(tracked_clip, dipguava(joint=0.1))
    steps(trainer, 10)
    before = values_of(trainer)
    steps(trainer, 3)
    for name, value in values_of(trainer).items():
        assert torch.equal(value, before[name]) == (name in GAUSSIAN_PARAMETERS), name
    rates = dict(zip(trainer.parameters.names, trainer.parameters.rates(trainer.images), strict=True))
    assert rates["base.last.weight"] == pytest.approx(0.1 * 5e-3) and rates["residual.last.weight"] == 5e-3


def test_rates_fall_over_each_stage_by_itself(tracked_clip: TrackedClip) -> None:
    trainer = trainer_of(tracked_clip, dipguava(rate_end_factor=0.01, joint=0.5))
    rates = {
        images: dict(zip(trainer.parameters.names, trainer.parameters.rates(images), strict=True))
        for images in (0, 20, 40, 60, 80)
    }
    assert [rates[i]["positions"] for i in rates] == pytest.approx([1e-2, 1e-3, 0.5e-2, 0.5e-3, 0.5e-4])
    assert [rates[i]["residual.last.bias"] for i in rates] == pytest.approx([0, 0, 5e-3, 5e-4, 5e-5])


def test_a_training_without_stage_1_or_without_a_residual(tracked_clip: TrackedClip) -> None:
    assert trainer_of(tracked_clip, dipguava(stage_images=0)).stage == 2
    alone = dipguava({"residual_appearance": False, "residual_geometry": False}, images=12, stage_images=40)
    trainer = trainer_of(tracked_clip, alone)
    assert alone.first_images == 12 and not alone.two_stages
    steps(trainer, 3)
    assert trainer.done and trainer.avatar.stage == 1


def test_without_a_base_the_residual_learns_all_there_is_in_one_stage(tracked_clip: TrackedClip) -> None:
    """Geometry of the Gaussians, what moves them and what colours them; and the file's avatar draws the same."""
    trainer = trainer_of(tracked_clip, dipguava({"base": "none"}))
    assert trainer.stage == 1 and trainer.preset.first_images == 80
    before = values_of(trainer)
    steps(trainer, 6)
    for name, value in values_of(trainer).items():
        assert not torch.equal(value, before[name]), name
    inputs = trainer._inputs([0, 3])
    with torch.no_grad():
        trained, finished = trainer._gaussians(inputs)[0], trainer.finished_avatar().gaussians(inputs)
    assert (trained.means[0] - trained.means[1]).abs().max() > 1e-5
    for mine, theirs in zip(trained.tensors(), finished.tensors(), strict=True):
        torch.testing.assert_close(mine, theirs)


ABLATIONS: dict[str, dict[str, Any]] = {
    "joint": {"joint": 1.0},
    "low resolution": {"low_resolution": 0.5},
    "optimised base": {"avatar": {"base": "optimised"}},
    "fixed uv": {"avatar": {"moving_uv": False}},
    "clamped uv": {"avatar": {"uv_beyond": "clamp"}},
    "walked uv": {"avatar": {"uv_beyond": "walk"}},
    "mlp": {"avatar": {"backbone": "mlp"}},
    "only the base": {"avatar": {"residual_appearance": False, "residual_geometry": False}},
    "only the residual": {"avatar": {"base": "none"}},
    "only the residual, mlp": {"avatar": {"base": "none", "backbone": "mlp", "residual_geometry": False}},
    "without residual geometry": {"avatar": {"residual_geometry": False}},
    "without residual appearance": {"avatar": {"residual_appearance": False}},
    "without fusion": {"avatar": {"fusion": False}},
    "mixed precision": {"mixed_precision": True},
    "exposure": {"fit_exposure": True},
    "raw condition": {"standardise_condition": False},
}


@pytest.mark.parametrize("case", ABLATIONS)
def test_every_ablation_trains(case: str, tracked_clip: TrackedClip) -> None:
    fast = {"rate": 2e-2, "residual_rate": 1e-2, "images": 136, "stage_images": 96}
    trainer = trainer_of(tracked_clip, dipguava(**fast | ABLATIONS[case]))
    losses, before = steps(trainer, 24), values_of(trainer)
    losses += steps(trainer, 10)
    assert trainer.done and np.isfinite(losses).all()
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8]), "backgrounds are random, so losses are noisy"
    residual = [name for name in before if name.startswith(("residual", "geometry"))]
    still = [name for name in residual if torch.equal(before[name], dict(trainer.parameters.tensors())[name])]
    assert not still
    target, render = trainer.preview(0)
    assert target.shape == render.shape == (32, 32, 3) and render.isfinite().all()
