# SPDX-License-Identifier: Apache-2.0
"""Training a DipGuava on the tiny clip: two stages, what is frozen when, resuming, densifying, and what goes wrong."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from blendsplat.avatars.dipguava.model import GAUSSIAN_PARAMETERS, DipGuava, condition_layout, raw_condition
from blendsplat.avatars.dipguava.settings import DipGuavaSettings
from blendsplat.avatars.ply import export_ply, read_ply
from blendsplat.errors import Cancelled, InputError
from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.jobs.kinds import KINDS
from blendsplat.progress import Progress
from blendsplat.systems import list_presets, load_avatar, make_preset, read_avatar, train_avatar
from blendsplat.training.checkpoint import checkpoint_path, load_checkpoint, training_fingerprint
from blendsplat.training.dipguava.preset import DipGuavaPreset
from blendsplat.training.dipguava.trainer import DipGuavaTrainer
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.loss_pass import LossPass
from blendsplat.training.tracked_clip import TrackedClip
from tiny_clip import tiny_head, tiny_tracking, write_tiny_clip
from tiny_dipguava import TINY

VALUES: dict[str, Any] = {
    "system": "dipguava", "image_size": 32, "images": 80, "stage_images": 40, "batch": 4, "decay_images": 0,
    "avatar": TINY, "lpips_weight": 0.0, "densify_every": 0, "distil_images": 0, "blendshapes": 4,
    "rate": 5e-3, "residual_rate": 5e-3, "position_rate": 1e-2, "scale_rate": 1e-2, "rotation_rate": 5e-3,
}  # fmt: skip
GROWING = {
    "densify_every": 8,
    "densify_after": 8,
    "densify_until": 1.0,
    "densify_gradient": 1e-6,
    "most_gaussians": 400,
}


def dipguava(avatar: dict[str, Any] | None = None, **changes: Any) -> DipGuavaPreset:
    preset = make_preset(VALUES | {"avatar": TINY | (avatar or {})} | changes)
    assert isinstance(preset, DipGuavaPreset)
    return preset


@pytest.fixture(autouse=True)
def few_steps_of_distilling(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the blendshapes' MLP learns is test_distil.py's matter."""
    monkeypatch.setattr("blendsplat.training.dipguava.distil.MLP_STEPS", 20)


@pytest.fixture(scope="module")
def tracked_clip(tmp_path_factory: pytest.TempPathFactory) -> TrackedClip:
    directory = tmp_path_factory.mktemp("clip")
    write_tiny_clip(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blendsplat.heads.load.load_head", lambda source, **_: tiny_head())
        return TrackedClip.open(directory)


def trainer_of(tracked: TrackedClip, preset: DipGuavaPreset, frames: int = 8) -> DipGuavaTrainer:
    data = tracked.load(list(range(frames)), 32, 32)
    return DipGuavaTrainer(tracked.head, tracked.camera(32), data, preset)


def values_of(trainer: DipGuavaTrainer) -> dict[str, Tensor]:
    """A copy of all that learns, by name."""
    return {name: value.detach().clone() for name, value in trainer.parameters.tensors()}


def steps(trainer: DipGuavaTrainer, count: int) -> list[float]:
    return [float(trainer.step().loss) for _ in range(count)]


class CancelAfter(Progress):
    """Cancels once the training has seen so many images."""

    def __init__(self, images: int, stage: str = "train") -> None:
        super().__init__()
        self.images, self.stage = images, stage

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        self.cancelled = self.cancelled or (stage == self.stage and done >= self.images)


# --- learning


def test_it_learns_over_the_border_of_the_stages(tiny_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out ü" / "a.avatar.npz"
    result = train_avatar(tiny_clip, dipguava(images=480, stage_images=280, rate_end_factor=0.1), output)
    assert result.images == 480 and result.resumed_from == 0 and not result.notes
    figures, avatar = evaluate_avatar(output, tiny_clip), load_avatar(output)
    assert figures["psnr"] == pytest.approx(result.figures["psnr"], abs=0.3), "half-precision networks lose little"
    train_avatar(tiny_clip, dipguava(images=2, stage_images=1), tmp_path / "u.avatar.npz")
    assert figures["psnr"] > evaluate_avatar(tmp_path / "u.avatar.npz", tiny_clip)["psnr"] + 6, figures
    assert isinstance(avatar, DipGuava) and avatar.sliders is not None and 1 <= avatar.sliders.blendshape_count <= 4
    meta, arrays = read_avatar(output)
    assert meta["training"]["images"] == 480 and meta["training"]["held_out_frames"] == 5
    assert meta["gaussians"] == result.gaussians == len(tiny_head().faces)
    seen = raw_condition(TrackedClip.open(tiny_clip).load(list(range(11)), 8, 8).params, DipGuavaSettings())
    np.testing.assert_array_equal(arrays["dip.condition_range"], torch.stack([seen.amin(0), seen.amax(0)]).numpy())


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


ABLATIONS: dict[str, dict[str, Any]] = {
    "joint": {"joint": 1.0},
    "low resolution": {"low_resolution": 0.5},
    "optimised base": {"avatar": {"base": "optimised"}},
    "fixed uv": {"avatar": {"moving_uv": False}},
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
    # without a base there is one stage, and no residual geometry in it
    assert still == [name for name in residual if case == "only the residual" and name.startswith("geometry")]
    target, render = trainer.preview(0)
    assert target.shape == render.shape == (32, 32, 3) and render.isfinite().all()


# --- resuming


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


def test_densification_ends_with_its_part_of_stage_1(tracked_clip: TrackedClip) -> None:
    trainer = trainer_of(tracked_clip, dipguava(**GROWING | {"densify_until": 0.5, "most_gaussians": 10**5}))
    counts = []
    while not trainer.done:
        trainer.step()
        counts.append(trainer.avatar.gaussian_count)
    assert counts[1] == 70 < counts[2] < counts[4] == counts[-1], counts
    trainer = trainer_of(tracked_clip, dipguava(**GROWING | {"most_gaussians": 1}))
    steps(trainer, 10)
    assert trainer.avatar.gaussian_count == 70, "no more than the budget, and none is taken from a triangle"


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


# --- steps that yield no numbers


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


# --- pictures of another size, exposure, arrivals


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


# --- what does not fit, and what is said


@pytest.mark.parametrize("stage_images", [80, 81])
def test_a_preset_without_stage_2_is_refused(stage_images: int) -> None:
    with pytest.raises(InputError, match=f"stage_images is {stage_images}, but stage 2 needs some of the 80 images"):
        dipguava(stage_images=stage_images)
    assert dipguava({"base": "none"}, stage_images=stage_images).first_images == 80


def test_mistakes_in_a_preset_are_named() -> None:
    with pytest.raises(InputError, match="uv_resolution"):
        dipguava(uv_resolution=64)
    for key, value in (("uv_size", 20), ("unet_widht", 8), ("fusion", "perhaps")):
        with pytest.raises(InputError, match=rf"avatar\.{key}"):
            dipguava({key: value})
    with pytest.raises(InputError, match="nothing draws the colours: residual_appearance has to"):
        dipguava({"base": "none", "residual_appearance": False})
    with pytest.raises(InputError, match="densify_until"):
        dipguava(densify_until=1.5)


def test_the_defaults_are_the_papers() -> None:
    p = make_preset({"system": "dipguava"})
    assert isinstance(p, DipGuavaPreset)
    assert (p.images, p.stage_images, p.batch, p.rate, p.residual_rate) == (120_000, 60_000, 1, 1e-4, 1e-5)
    assert (p.densify_every, p.densify_gradient, p.prune_opacity, p.avatar.uv_size) == (500, 2e-4, 0.05, 128)
    weights = p.l1_weight, p.ssim_weight, p.lpips_weight, p.position_weight, p.scale_weight
    assert weights == (0.8, 0.2, 0.1, 0.01, 1.0) and (p.position_limit, p.scale_limit) == (2.0, 0.6)


def test_a_shipped_preset_trains_it() -> None:
    assert [preset.name for preset in list_presets() if isinstance(preset, DipGuavaPreset)]


def test_a_clip_that_is_too_short_is_refused(tmp_path: Path) -> None:
    write_tiny_clip(tmp_path / "clip", 2)
    with pytest.raises(InputError, match="use a longer clip or a smaller holdout"):
        train_avatar(tmp_path / "clip", dipguava(), tmp_path / "a.avatar.npz")
    write_tiny_clip(tmp_path / "three", 3)
    train_avatar(tmp_path / "three", dipguava(images=8, stage_images=4), tmp_path / "b.avatar.npz")
    assert load_avatar(tmp_path / "b.avatar.npz").gaussian_count == 70, "two frames are few, and enough to run"


def test_a_clip_without_any_movement_trains(tmp_path: Path) -> None:
    """Nothing to standardise by, and no movement to make blendshapes of."""
    write_tiny_clip(tmp_path / "clip", 6)
    tracking = tiny_tracking(tiny_head(), 6)
    tracking.expression[:], tracking.neck_pose[:] = 0, 0
    tracking.save(tmp_path / "clip" / "tracking.npz")
    train_avatar(tmp_path / "clip", dipguava(images=16, stage_images=8), tmp_path / "a.avatar.npz")
    frames = load_avatar(tmp_path / "a.avatar.npz").drive(tracking.params())
    assert all(value.isfinite().all() for value in frames.tensors())


def test_a_head_without_uvs_is_refused_with_the_reason(tiny_clip: Path, tmp_path: Path, monkeypatch) -> None:
    bare = replace(tiny_head(), uvs=torch.zeros_like(tiny_head().uvs))
    monkeypatch.setattr("blendsplat.heads.load.load_head", lambda source, **_: bare)
    with pytest.raises(InputError, match=r"lacks texture coordinates.*track the clip with a head that has them"):
        train_avatar(tiny_clip, dipguava(), tmp_path / "a.avatar.npz")


def test_lpips_without_its_file_is_noted(tiny_clip: Path, tmp_path: Path) -> None:
    preset = dipguava(images=8, stage_images=4, lpips_weight=0.1)
    notes = train_avatar(tiny_clip, preset, tmp_path / "a.avatar.npz").notes
    assert notes == ["Trained without LPIPS: lpips_weights names no file with the metric's weights."]


def test_lpips_takes_part(tracked_clip: TrackedClip, test_data) -> None:
    weights = str(test_data("perceptual/lpips_squeeze.npz"))
    changes = {"lpips_weight": 0.5, "lpips_weights": weights, "lpips_after": 8}
    with_it, without = (steps(trainer_of(tracked_clip, dipguava(**c)), 3) for c in (changes, {}))
    assert with_it[:2] == without[:2] and with_it[2] > without[2]


def test_the_jobs_render_and_export_it(tiny_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.avatar.npz"
    train_avatar(tiny_clip, dipguava(images=8, stage_images=4), output)

    def run(kind: str, **values: object) -> dict:
        options = KINDS[kind].options.model_validate({"avatar": output, "performance": tiny_clip, **values})
        return KINDS[kind].run(options, Progress())

    assert run("render", output=tmp_path / "frames", width=24, height=24, count=3)["frames"] == 3
    assert run("export", output=tmp_path / "a.ply")["gaussians"] == 70
    frame = load_avatar(output).drive(tiny_tracking(tiny_head(), 1).params())
    assert export_ply(tmp_path / "b.ply", frame) == read_ply(tmp_path / "b.ply").means.shape[1]


# --- cancelling, and the blendshapes' own training


def test_cancelled_while_the_blendshapes_learn_it_goes_on_from_there(
    tiny_clip: Path, tmp_path: Path, monkeypatch
) -> None:
    output, preset = tmp_path / "a.avatar.npz", dipguava(images=16, stage_images=8, distil_images=24)
    with pytest.raises(Cancelled, match="16 of 16"):
        train_avatar(tiny_clip, preset, output, CancelAfter(8, "distil"))
    assert load_avatar(output).gaussian_count == 70, "with blendshapes, though without their training"
    result = train_avatar(tiny_clip, preset, output)
    assert result.resumed_from == 16
    train_avatar(tiny_clip, preset, tmp_path / "whole.avatar.npz")
    (_, first), (_, second) = read_avatar(output), read_avatar(tmp_path / "whole.avatar.npz")
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


def test_a_checkpoint_of_other_networks_is_put_aside(tiny_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.avatar.npz"
    train_avatar(tiny_clip, dipguava(images=8, stage_images=4), output)
    result = train_avatar(tiny_clip, dipguava({"mlp_width": 12}, images=8, stage_images=4), output)
    assert result.resumed_from == 0 and "another preset" in result.notes[0]


def test_a_clip_that_ignores_half_its_pixels_trains(tiny_clip: Path, tmp_path: Path) -> None:
    tracked = TrackedClip.open(shutil.copytree(tiny_clip, tmp_path / "clip"))
    data = tracked.load(list(range(8)), 32, 32)
    data.valid[:, 16:], data.premultiplied[:, 16:] = 0, 255
    data.targets.refresh(range(len(data)))
    trainer = DipGuavaTrainer(tracked.head, tracked.camera(32), data, dipguava(images=200, stage_images=160))
    losses = steps(trainer, 50)
    assert losses[-1] < 0.7 * losses[0]
