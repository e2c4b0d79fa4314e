# SPDX-License-Identifier: Apache-2.0
"""A second system, one page long, does all that an avatar does through the contracts alone; one that is not known is
refused by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.avatars.ply import export_ply, read_ply
from blendsplat.errors import Cancelled, FormatError, InputError
from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.jobs.kinds import KINDS
from blendsplat.progress import Progress
from blendsplat.systems import SYSTEMS, load_avatar, make_preset, read_avatar, train_avatar
from blendsplat.training.checkpoint import checkpoint_path
from blendsplat.training.presets import Preset
from tiny_clip import tiny_head, tiny_tracking
from toy_system import TOY, ToyAvatar, ToyTrainer

VALUES = {"system": "toy", "image_size": 32, "images": 240, "batch": 4, "decay_images": 0}


@pytest.fixture(autouse=True)
def toy_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line that a new system needs."""
    monkeypatch.setitem(SYSTEMS, "toy", TOY)


def toy(**changes) -> Preset:
    return make_preset(VALUES | changes)


class CancelAfter(Progress):
    """Cancels once the training has seen so many images."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        self.cancelled = stage == "train" and done >= self.images


@pytest.fixture
def trained(tiny_clip: Path, tmp_path: Path) -> Path:
    train_avatar(tiny_clip, toy(), tmp_path / "t.avatar.npz")
    return tmp_path / "t.avatar.npz"


def test_it_trains_grows_and_scores(tiny_clip: Path, trained: Path) -> None:
    meta, arrays = read_avatar(trained)
    faces = len(arrays["rig.faces"])
    assert meta["system"] == "toy" and meta["gaussians"] > faces, "it has grown"
    assert arrays["toy.generation"].max() >= 2 and arrays["toy.brightness"] != 1, "twice split; stage 2 has learned"
    untrained = trained.with_name("u.avatar.npz")
    train_avatar(tiny_clip, toy(images=1), untrained)
    assert evaluate_avatar(trained, tiny_clip)["psnr"] > evaluate_avatar(untrained, tiny_clip)["psnr"] + 2


def test_stage_2_leaves_all_but_the_brightness_alone(tiny_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.avatar.npz"
    train_avatar(tiny_clip, toy(images=160, decay_images=100), output)
    _, before = read_avatar(output)
    train_avatar(tiny_clip, toy(images=240, decay_images=100), output)
    _, after = read_avatar(output)
    assert before["toy.brightness"] != after["toy.brightness"]
    for name in ("triangle", "barycentrics", "log_scales"):
        np.testing.assert_array_equal(before[name], after[name])


def test_the_file_gives_the_same_avatar(trained: Path, tmp_path: Path) -> None:
    avatar, params = load_avatar(trained), tiny_tracking(tiny_head(), 3).params()
    assert isinstance(avatar, ToyAvatar)
    avatar.save(tmp_path / "again.avatar.npz")
    again = load_avatar(tmp_path / "again.avatar.npz").drive(params)
    for name in ("means", "scales", "colors"):
        torch.testing.assert_close(getattr(again, name), getattr(avatar.drive(params), name))


@pytest.mark.parametrize("cut", [20, 60, 120, 200], ids=["before growth", "grown once", "pruned", "stage 2"])
def test_resumed_it_is_the_same_as_uninterrupted(cut: int, tiny_clip: Path, tmp_path: Path, monkeypatch) -> None:
    """Also across what grew and shrank in between, and across the border of the stages."""
    monkeypatch.setattr("blendsplat.training.loop._REPORT_SECONDS", 0)
    whole, parts = tmp_path / "whole.avatar.npz", tmp_path / "parts.avatar.npz"
    train_avatar(tiny_clip, toy(), whole)
    with pytest.raises(Cancelled, match=f"{cut} of 240"):
        train_avatar(tiny_clip, toy(), parts, CancelAfter(cut))
    assert train_avatar(tiny_clip, toy(), parts).resumed_from == cut
    (_, first), (_, second) = read_avatar(whole), read_avatar(parts)
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


def test_the_jobs_render_and_export_it(tiny_clip: Path, trained: Path, tmp_path: Path) -> None:
    def run(kind: str, **values: object) -> dict:
        options = KINDS[kind].options.model_validate({"avatar": trained, "performance": tiny_clip, **values})
        return KINDS[kind].run(options, Progress())

    assert run("render", output=tmp_path / "frames", width=24, height=24, count=3)["frames"] == 3
    assert len(list((tmp_path / "frames").glob("*.png"))) == 3
    assert run("export", output=tmp_path / "a.ply")["gaussians"] == load_avatar(trained).gaussian_count
    frame = load_avatar(trained).drive(tiny_tracking(tiny_head(), 1).params())
    assert export_ply(tmp_path / "b.ply", frame) == read_ply(tmp_path / "b.ply").means.shape[1]


def test_without_it_its_files_and_presets_are_refused_by_its_name(trained: Path, monkeypatch) -> None:
    monkeypatch.delitem(SYSTEMS, "toy")
    with pytest.raises(FormatError, match="of the system 'toy', which this Blendsplat lacks"):
        load_avatar(trained)
    with pytest.raises(InputError, match="no avatar system 'toy'; known are rgbavatar"):
        make_preset(VALUES)


def test_its_preset_knows_its_own_keys_only() -> None:
    assert toy(split_every=7).split_every == 7
    with pytest.raises(InputError, match="uv_resolution"):
        toy(uv_resolution=64)


def test_a_checkpoint_of_another_system_is_put_aside(tiny_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.avatar.npz"
    train_avatar(tiny_clip, toy(images=8), output)
    small = {"uv_resolution": 12, "image_size": 32, "images": 4, "batch": 4, "blendshapes": 2, "mlp_width": 8}
    result = train_avatar(tiny_clip, make_preset(small), output)
    assert result.resumed_from == 0 and "another preset" in result.notes[0]
    assert checkpoint_path(output).with_name("a.other-1.checkpoint.safetensors").is_file()


def test_moments_follow_their_gaussians(tiny_clip: Path) -> None:
    """After a split, an old Gaussian's moments are its own, a new one's are zero, and the counts go on."""
    from blendsplat.training.tracked_clip import TrackedClip

    tracked = TrackedClip.open(tiny_clip)
    data = tracked.load(list(range(8)), 32, 32)
    trainer = ToyTrainer(tracked.head, tracked.camera(32), data, toy(split_every=10**6))
    for _ in range(3):
        trainer.step()
    before = {name: value.clone() for name, value in trainer.parameters.moments().items()}
    old = trainer.avatar.tensors["triangle"].clone()
    trainer._split()
    after, kept = trainer.parameters.moments(), trainer.avatar.tensors["generation"] == 0
    assert 0 < kept.sum() < len(kept) and len(kept) > len(old)
    place = {int(triangle): row for row, triangle in enumerate(old)}
    source = [place[int(triangle)] for triangle in trainer.avatar.tensors["triangle"][kept]]
    for name in ("barycentrics", "log_scales", "colors"):
        assert after[f"optimiser.{name}.step"] == before[f"optimiser.{name}.step"] == 3
        for kind in ("exp_avg", "exp_avg_sq"):
            moved = after[f"optimiser.{name}.{kind}"]
            torch.testing.assert_close(moved[kept], before[f"optimiser.{name}.{kind}"][source])
            assert not moved[~kept].any()
    torch.testing.assert_close(after["optimiser.brightness.exp_avg"], before["optimiser.brightness.exp_avg"])
