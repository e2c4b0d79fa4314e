# SPDX-License-Identifier: Apache-2.0
"""From a tracked clip to an avatar file that plays, scores and exports; what no clip is too odd for."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.avatars.dipguava.model import DipGuava, raw_condition
from blendsplat.avatars.dipguava.settings import DipGuavaSettings
from blendsplat.avatars.ply import export_ply, read_ply
from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.jobs.kinds import KINDS
from blendsplat.progress import Progress
from blendsplat.systems import load_avatar, read_avatar, train_avatar
from blendsplat.training.dipguava.trainer import DipGuavaTrainer
from blendsplat.training.tracked_clip import TrackedClip
from tiny_clip import tiny_head, tiny_tracking, write_tiny_clip
from tiny_dipguava_training import dipguava, steps, trainer_of

pytestmark = pytest.mark.usefixtures("few_steps_of_distilling")


def test_it_learns_over_the_border_of_the_stages(tiny_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out ü" / "a.avatar.npz"
    result = train_avatar(tiny_clip, dipguava(images=480, stage_images=280, rate_end_factor=0.1), output)
    assert result.images == 480 and result.resumed_from == 0 and not result.notes
    figures, avatar = evaluate_avatar(output, tiny_clip), load_avatar(output)
    assert figures["psnr"] == pytest.approx(result.figures["psnr"], abs=0.3), "half-precision networks lose little"
    sliders = evaluate_avatar(output, tiny_clip, show="sliders")["psnr"]
    assert result.figures["sliders_psnr"] == pytest.approx(sliders, abs=0.01) and abs(sliders - figures["psnr"]) > 0.01
    assert set(result.figures) == {"loss", "train_psnr", "psnr", "ssim", "sliders_psnr", "sliders_ssim"}
    train_avatar(tiny_clip, dipguava(images=2, stage_images=1), tmp_path / "u.avatar.npz")
    assert figures["psnr"] > evaluate_avatar(tmp_path / "u.avatar.npz", tiny_clip)["psnr"] + 6, figures
    assert isinstance(avatar, DipGuava) and avatar.sliders is not None and 1 <= avatar.sliders.blendshape_count <= 4
    meta, arrays = read_avatar(output)
    assert meta["training"]["images"] == 480 and meta["training"]["held_out_frames"] == 5
    assert meta["gaussians"] == result.gaussians == len(tiny_head().faces)
    seen = raw_condition(TrackedClip.open(tiny_clip).load(list(range(11)), 8, 8).params, DipGuavaSettings())
    np.testing.assert_array_equal(arrays["dip.condition_range"], torch.stack([seen.amin(0), seen.amax(0)]).numpy())


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


def test_a_clip_without_any_movement_trains(tmp_path: Path) -> None:
    """Nothing to standardise by, and no movement to make blendshapes of."""
    write_tiny_clip(tmp_path / "clip", 6)
    tracking = tiny_tracking(tiny_head(), 6)
    tracking.expression[:], tracking.neck_pose[:] = 0, 0
    tracking.save(tmp_path / "clip" / "tracking.npz")
    train_avatar(tmp_path / "clip", dipguava(images=16, stage_images=8), tmp_path / "a.avatar.npz")
    frames = load_avatar(tmp_path / "a.avatar.npz").drive(tracking.params())
    assert all(value.isfinite().all() for value in frames.tensors())


def test_a_clip_that_ignores_half_its_pixels_trains(tiny_clip: Path, tmp_path: Path) -> None:
    tracked = TrackedClip.open(shutil.copytree(tiny_clip, tmp_path / "clip"))
    data = tracked.load(list(range(8)), 32, 32)
    data.valid[:, 16:], data.premultiplied[:, 16:] = 0, 255
    data.targets.refresh(range(len(data)))
    trainer = DipGuavaTrainer(tracked.head, tracked.camera(32), data, dipguava(images=200, stage_images=160))
    losses = steps(trainer, 50)
    assert losses[-1] < 0.7 * losses[0]


def test_lpips_takes_part(tracked_clip: TrackedClip, test_data) -> None:
    weights = str(test_data("perceptual/lpips_squeeze.npz"))
    changes = {"lpips_weight": 0.5, "lpips_weights": weights, "lpips_after": 8}
    with_it, without = (steps(trainer_of(tracked_clip, dipguava(**c)), 3) for c in (changes, {}))
    assert with_it[:2] == without[:2] and with_it[2] > without[2]


def test_lpips_without_its_file_is_noted(tiny_clip: Path, tmp_path: Path) -> None:
    preset = dipguava(images=8, stage_images=4, lpips_weight=0.1)
    notes = train_avatar(tiny_clip, preset, tmp_path / "a.avatar.npz").notes
    assert notes == ["Trained without LPIPS: lpips_weights names no file with the metric's weights."]
