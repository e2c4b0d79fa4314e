# SPDX-License-Identifier: Apache-2.0
"""Training learns the tiny truth; interrupted and resumed it gives the very same avatar; cancelling loses nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.errors import Cancelled, FormatError, InputError, StorageError
from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.systems import load_avatar, make_preset, read_avatar, train_avatar
from blendsplat.training.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint, training_fingerprint
from blendsplat.training.frame_store import FrameStore
from blendsplat.training.presets import Preset
from blendsplat.training.rgbavatar.trainer import RGBAvatarTrainer
from blendsplat.training.scores import score_frames
from blendsplat.training.tracked_clip import TrackedClip
from blendsplat.video.clip import encode_png, frame_path
from tiny_clip import tiny_tracking, write_tiny_clip

SMALL = {
    "uv_resolution": 14, "image_size": 32, "images": 320, "batch": 4, "blendshapes": 4, "mlp_width": 16,
    "texel_scale": 0.7, "blendshapes_after": 40, "decay_images": 0, "rate_end_factor": 0.1, "color_init_images": 100,
}  # fmt: skip


def small(**changes) -> Preset:
    return make_preset(SMALL | changes)


class Recorder(Progress):
    """Keeps what was reported; cancels after so many images."""

    def __init__(self, cancel_after: float = np.inf) -> None:
        super().__init__()
        self.cancel_after, self.reports, self.previews, self.checks = cancel_after, [], [], 0

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        self.reports.append((stage, done, total, message, figures))

    def preview(self, image: np.ndarray) -> None:
        self.previews.append(image)


def cancel_at(trainer_images: int, monkeypatch: pytest.MonkeyPatch, progress: Progress) -> None:
    """The user cancels once the trainer has seen so many images."""
    step = RGBAvatarTrainer.step

    def stepping(self: RGBAvatarTrainer):
        report = step(self)
        progress.cancelled = self.images >= trainer_images
        return report

    monkeypatch.setattr(RGBAvatarTrainer, "step", stepping)


def test_training_learns_what_it_never_saw(tiny_clip: Path, tmp_path: Path, test_data) -> None:
    output, recorder = tmp_path / "out ü" / "tiny.avatar.npz", Recorder()
    result = train_avatar(tiny_clip, small(), output, recorder)
    assert result.images == 320 and result.resumed_from == 0
    assert result.figures["psnr"] > 29, result.figures
    figures = evaluate_avatar(output, tiny_clip)
    assert figures["frames"] == 5 and [row["frame"] for row in figures["rows"]] == [11, 12, 13, 14, 15]
    assert figures["psnr"] == pytest.approx(result.figures["psnr"], abs=1e-3) and figures["ssim"] > 0.95
    done_reports = [report for report in recorder.reports if report[0] == "train"]
    assert done_reports[-1][1:3] == (320, 320) and {"loss", "psnr", "eta_s"} <= set(done_reports[-1][4])
    assert recorder.previews and recorder.previews[-1].shape == (32, 64, 3) and recorder.previews[-1].dtype == np.uint8
    target, render = np.split(recorder.previews[-1].astype(float), 2, axis=1)
    assert np.abs(target - render).mean() < 12
    meta, arrays = read_avatar(output)
    assert (
        meta["training"]["images"] == meta["training"]["planned_images"] == 320
        and meta["training"]["held_out_frames"] == 5
    )
    assert meta["gaussians"] == result.gaussians == len(arrays["triangle"])


def test_a_clip_without_mattes_is_told_before_it_is_trained(tmp_path: Path) -> None:
    write_tiny_clip(tmp_path / "clip")
    told = json.loads((tmp_path / "clip" / "clip.json").read_text())
    (tmp_path / "clip" / "clip.json").write_text(json.dumps(told | {"matte": "none"}))
    recorder = Recorder()
    result = train_avatar(tmp_path / "clip", small(images=8), tmp_path / "a.avatar.npz", recorder)
    first = next(stage for stage, *_, message, _ in recorder.reports if "no mattes" in message)
    assert first == "load" and any("no mattes" in note for note in result.notes)


def test_a_mirrored_truth_is_not_learned_by_accident(tiny_clip: Path, tmp_path: Path) -> None:
    """The metric sees mirrored frames: an avatar of the clip scores badly on the mirrored clip."""
    output = tmp_path / "a.avatar.npz"
    train_avatar(tiny_clip, small(images=160), output)
    mirrored = tmp_path / "mirrored"
    shutil.copytree(tiny_clip, mirrored)
    from PIL import Image, ImageOps

    for path in (*mirrored.glob("images/*.png"), *mirrored.glob("mattes/*.png")):
        ImageOps.mirror(Image.open(path)).save(path)
    assert evaluate_avatar(output, mirrored)["psnr"] < evaluate_avatar(output, tiny_clip)["psnr"] - 6


@pytest.mark.parametrize(("sampler", "cut"), [("offline", 20), ("offline", 60), ("online", 0)])
def test_resumed_training_is_the_same_as_uninterrupted(
    sampler: str, cut: int, tiny_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = small(
        images=80,
        sampler=sampler,
        online_local_pool=4,
        online_images_per_frame=8,
        fit_exposure=True,
        color_init_images=cut,
    )
    whole, parts = tmp_path / "whole.avatar.npz", tmp_path / "parts.avatar.npz"
    train_avatar(tiny_clip, preset, whole)
    progress = Recorder()
    with monkeypatch.context() as patch, pytest.raises(Cancelled, match="40 of 80"):
        cancel_at(40, patch, progress)
        train_avatar(tiny_clip, preset, parts, progress)
    record = read_avatar(parts)[0]["training"]
    assert record["images"] == 40 < record["planned_images"], "cancelling leaves a usable avatar, and says how usable"
    result = train_avatar(tiny_clip, preset, parts)
    assert result.resumed_from == 40 and "Continuing after 40" in result.notes[0]
    (_, first), (_, second) = read_avatar(whole), read_avatar(parts)
    assert first["positions"].any() and first["delta_colors"].any()
    for name in first:
        np.testing.assert_allclose(second[name], first[name], atol=1e-6, rtol=1e-5, err_msg=name)


def test_a_killed_training_resumes_from_its_last_checkpoint(tiny_clip: Path, tmp_path: Path, monkeypatch) -> None:
    """No clean-up ran: only the checkpoint of the clock is there."""
    output, step = tmp_path / "a.avatar.npz", RGBAvatarTrainer.step
    preset = small(images=80, checkpoint_seconds=1e-9)

    def dying(self: RGBAvatarTrainer):
        if self.images >= 40:
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RGBAvatarTrainer, "step", dying)
        train_avatar(tiny_clip, preset, output)
    assert not output.exists() and checkpoint_path(output).exists()
    assert train_avatar(tiny_clip, preset, output).resumed_from == 40
    assert train_avatar(tiny_clip, preset, output).resumed_from == 80, "a finished training is not trained again"
    avatar = load_avatar(output)
    assert avatar.gaussian_count > 0
    assert avatar.reference is not None and avatar.reference.face is not None, "the file knows the neutral face"


def test_a_checkpoint_of_another_training_is_put_aside(tiny_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.avatar.npz"
    train_avatar(tiny_clip, small(images=8), output)
    result = train_avatar(tiny_clip, small(images=8, seed=4), output)
    assert result.resumed_from == 0 and "another preset" in result.notes[0]
    assert (tmp_path / "a.other-1.checkpoint.safetensors").exists()
    checkpoint_path(output).write_bytes(b"\x10\0\0\0\0\0\0\0 no json at all")
    result = train_avatar(tiny_clip, small(images=8, seed=4), output)
    assert result.resumed_from == 0 and "damaged" in result.notes[0]
    other = tmp_path / "clip"
    write_tiny_clip(other, 12)
    assert "another" in train_avatar(other, small(images=8, seed=4), output).notes[0]
    assert (tmp_path / "a.other-2.checkpoint.safetensors").exists()


def test_a_checkpoint_of_another_version_is_put_aside_with_a_sentence(tiny_clip: Path, tmp_path: Path) -> None:
    output, preset = tmp_path / "a.avatar.npz", small(images=8)
    train_avatar(tiny_clip, preset, output)
    checkpoint = checkpoint_path(output)
    fingerprint = training_fingerprint(preset, TrackedClip.open(tiny_clip).fingerprint)
    snapshot, _ = load_checkpoint(checkpoint, fingerprint)
    del snapshot.tensors["initialised"]
    save_checkpoint(checkpoint, snapshot, fingerprint)
    with pytest.raises(FormatError, match=r"does not fit .* kept as a\.other-1\.checkpoint\.safetensors"):
        train_avatar(tiny_clip, preset, output)
    assert train_avatar(tiny_clip, preset, output).resumed_from == 0


def test_checkpoint_names() -> None:
    assert checkpoint_path("x/Zoë.avatar.npz").name == "Zoë.checkpoint.safetensors"
    assert checkpoint_path("x/other.npz").name == "other.checkpoint.safetensors"
    assert load_checkpoint(Path("nowhere/x.checkpoint.safetensors"), "") == (None, "")


def test_an_avatar_for_which_there_is_room_is_kept_without_its_checkpoint(tiny_clip, tmp_path, monkeypatch) -> None:
    """A checkpoint is six times as large: a disk that it fills has no word in the avatar's fate."""
    output = tmp_path / "a.avatar.npz"
    train_avatar(tiny_clip, small(images=8, decay_images=100), output)
    before = checkpoint_path(output).read_bytes()

    def full(*_args) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("blendsplat.training.checkpoint.write_tensors", full)
    recorder = Recorder()
    result = train_avatar(tiny_clip, small(images=48, decay_images=100, checkpoint_seconds=1e-3), output, recorder)
    assert result.images == 48 and read_avatar(output)[0]["training"]["images"] == 48
    assert checkpoint_path(output).read_bytes() == before
    told = [note for note in result.notes if "No space left" in note]
    assert len(told) == 1 and "the avatar is saved" in told[0] and "Free some space" in told[0]


def test_a_target_that_cannot_be_written_is_told_before_the_training(tiny_clip, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("blendsplat.training.loop.TrackedClip.load", lambda *_, **__: pytest.fail("hours of work"))
    (tmp_path / "a file").write_text("")
    with pytest.raises(StorageError, match="Could not write"):
        train_avatar(tiny_clip, small(), tmp_path / "a file" / "a.avatar.npz")
    (tmp_path / "b.avatar.npz").mkdir()
    with pytest.raises(StorageError, match="it is a folder"):
        train_avatar(tiny_clip, small(), tmp_path / "b.avatar.npz")

    def read_only(*_args, **_words):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("blendsplat.files.tempfile.TemporaryFile", read_only)
    with pytest.raises(StorageError, match=r"Read-only file system\. Choose a folder that you may write to\."):
        train_avatar(tiny_clip, small(), tmp_path / "c.avatar.npz")


def test_colours_are_initialised_once_from_what_is_seen(tiny_clip: Path) -> None:
    tracked = TrackedClip.open(tiny_clip)
    preset = small(position_rate=0, opacity_rate=0, scale_rate=0, rotation_rate=0, color_rate=0, mlp_rate=0)
    trainer = RGBAvatarTrainer(tracked.head, tracked.camera(32), tracked.load(list(range(8)), 32, 32), preset)
    trainer.step()
    assert trainer.initialised.float().mean() > 0.9
    colors = trainer.avatar.colors.detach().clone()
    assert (colors[trainer.initialised].abs().sum(1) > 0).all() and (colors[~trainer.initialised] == 0).all()
    before = trainer.initialised.clone()
    trainer.step()
    torch.testing.assert_close(trainer.avatar.colors[before], colors[before])


def test_ignored_pixels_teach_nothing(tmp_path: Path) -> None:
    """Half the picture is spoiled and marked as ignored: the avatar is as good there where it counts."""
    write_tiny_clip(tmp_path, 8)
    tracked = TrackedClip.open(tmp_path)
    data = tracked.load(list(range(8)), 32, 32)
    data.valid[:, 16:] = 0
    data.premultiplied[:, 16:] = 255
    data.targets.refresh(range(len(data)))
    trainer = RGBAvatarTrainer(tracked.head, tracked.camera(32), data, small(images=60))
    while not trainer.done:
        report = trainer.step()
    assert report.psnr() > 24
    assert not trainer.initialised.all(), "what is only seen in ignored pixels is never initialised"
    assert trainer.finished_avatar().gaussian_count == int(trainer.initialised.sum())


def test_what_the_tracking_does_not_confirm_hardly_teaches(tmp_path: Path) -> None:
    """Every third training frame is a picture of noise. Where the tracking says so, held-out frames are better; and
    frames that are all confirmed alike train to the very bits of a tracking that knows no confidence."""
    write_tiny_clip(tmp_path / "clean")
    tracking = Performance.load(tmp_path / "clean")
    shutil.copytree(tmp_path / "clean", tmp_path / "spoiled")
    spoiled, rng = np.arange(0, 11, 3), np.random.default_rng(0)
    for frame in spoiled:
        picture = encode_png(rng.integers(0, 256, (32, 32, 3), np.uint8))
        frame_path(tmp_path / "spoiled", "images", int(frame)).write_bytes(picture)

    def trained(name: str, confidence: np.ndarray, output: str) -> dict[str, float]:
        replace(tracking, confidence=confidence.astype(np.float32)).save(tmp_path / name / "tracking.npz")
        return train_avatar(tmp_path / name, small(images=240), tmp_path / output).figures

    every = np.ones(16)
    known = every.copy()
    known[spoiled] = 0
    trusting = trained("spoiled", every, "trusting.avatar.npz")["psnr"]
    doubting = trained("spoiled", known, "doubting.avatar.npz")["psnr"]
    assert doubting > trusting + 3, (doubting, trusting)
    trained("clean", every, "one.avatar.npz")
    trained("clean", 0.7 * every, "alike.avatar.npz")
    (_, one), (_, alike) = (read_avatar(tmp_path / f"{name}.avatar.npz") for name in ("one", "alike"))
    for name in one:
        assert np.array_equal(one[name], alike[name]), name


def test_posing_in_every_step_gives_the_same_as_posing_before(tiny_clip: Path, monkeypatch) -> None:
    tracked = TrackedClip.open(tiny_clip)
    losses = []
    for budget in (2**30, 0):
        monkeypatch.setattr("blendsplat.training.rgbavatar.trainer._SURFACE_BUDGET", budget)
        trainer = RGBAvatarTrainer(tracked.head, tracked.camera(32), tracked.load(list(range(8)), 32, 32), small())
        assert (trainer.surfaces is None) == (budget == 0)
        losses.append([float(trainer.step().loss) for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_other_losses_train_too(tiny_clip: Path, test_data) -> None:
    tracked = TrackedClip.open(tiny_clip)
    weights = str(test_data("perceptual/lpips_squeeze.npz"))
    preset = small(l1_weight=0.8, ssim_weight=0.2, lpips_weight=0.05, lpips_after=20, lpips_weights=weights, images=60)
    trainer = RGBAvatarTrainer(tracked.head, tracked.camera(32), tracked.load(list(range(8)), 32, 32), preset)
    first = float(trainer.step().loss)
    while not trainer.done:
        last = float(trainer.step().loss)
    assert last < first


def test_evaluating_what_does_not_fit(tiny_clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.avatar.npz"
    train_avatar(tiny_clip, small(images=4), output)
    with pytest.raises(InputError, match="held out"):
        evaluate_avatar(output, tiny_clip, holdout=0)
    avatar = load_avatar(output)
    for holdout in ("a third", None, -1, float("nan")):
        avatar.training_record["holdout"] = holdout
        avatar.save(output)
        assert evaluate_avatar(output, tiny_clip)["frames"] == 5, "three tenths of 16"
    other = tmp_path / "other"
    shutil.copytree(tiny_clip, other)
    tracking = tiny_tracking(TrackedClip.open(tiny_clip).head, 16)
    tracking.head = "flame"
    tracking.save(other / "tracking.npz")
    with pytest.raises(InputError, match="flame"):
        evaluate_avatar(output, other)


def test_gaussians_that_no_frame_shows_are_dropped_without_disturbing_the_others(tiny_clip: Path) -> None:
    """A third of the picture never counts; with all rates at zero, dropping must change nothing that is seen."""
    tracked = TrackedClip.open(tiny_clip)
    data = tracked.load(list(range(8)), 32, 32)
    data.valid[:, :11] = 0
    data.targets.refresh(range(len(data)))
    still = dict.fromkeys(("position_rate", "opacity_rate", "scale_rate", "rotation_rate", "color_rate", "mlp_rate"), 0)
    trainer = RGBAvatarTrainer(tracked.head, tracked.camera(32), data, small(color_init_images=12, **still))
    for _ in range(3):
        trainer.step()
    before, seen = trainer.avatar.gaussian_count, int(trainer.initialised.sum())
    colors = trainer.avatar.colors[trainer.initialised].detach().clone()
    trainer.step()
    assert trainer.avatar.gaussian_count == seen < before
    torch.testing.assert_close(trainer.avatar.colors.detach(), colors)
    optimiser = trainer.parameters.optimiser
    assert all(a.shape == p.shape for a, p in zip(optimiser.exp_avg, optimiser.parameters, strict=True))


def test_fitting_the_exposure_recovers_the_clip_from_a_flickering_camera(tiny_clip: Path) -> None:
    """Training frames flicker by 30 %, the scored ones do not."""
    tracked = TrackedClip.open(tiny_clip)
    scored, scores = tracked.load(list(range(11, 16)), 32, 32), {}
    scored.premultiplied.copy_(scored.premultiplied * 0.8)
    for fit in (False, True):
        data = tracked.load(list(range(11)), 32, 32)
        gains = torch.linspace(0.85, 1.15, 11)[torch.randperm(11, generator=torch.Generator().manual_seed(2))]
        data.premultiplied.copy_(data.premultiplied * 0.8 * gains[:, None, None, None])
        trainer = RGBAvatarTrainer(
            tracked.head, tracked.camera(32), data, small(fit_exposure=fit, exposure_rate=5e-3, images=400)
        )
        while not trainer.done:
            trainer.step()
        scores[fit] = np.mean([row["psnr"] for row in score_frames(trainer.finished_avatar(), scored)])
    assert scores[True] > scores[False] + 0.8, scores  # 1.2 to 2.2 dB, by seed and rounding


def test_frames_arrive_while_it_trains_and_the_oldest_go(tiny_clip: Path) -> None:
    """A store with room for six of twelve frames: what is computed per frame is that of the frames that lie in it, no
    address changes, and what is trained on is what has arrived."""
    tracked = TrackedClip.open(tiny_clip)
    source = tracked.load(list(range(12)), 32, 32)
    planes = torch.cat([source.premultiplied, source.alpha[..., None], source.valid[..., None]], -1)
    data = FrameStore(6, 32, 32, source.params)
    data.add(range(4), planes[:4], source.params[[0, 1, 2, 3]])
    preset = small(sampler="online", online_images_per_frame=2, online_local_pool=3, fit_exposure=True)
    trainer = RGBAvatarTrainer(tracked.head, tracked.camera(32), data, preset)
    addresses = [trainer.features.data_ptr(), trainer.inputs.data_ptr(), trainer.surfaces.vertices.data_ptr()]
    losses = [float(trainer.step().loss)]
    assert set(trainer.sampler.local + trainer.sampler.long_term) == {0, 1, 2, 3}
    for number in range(4, 12):
        trainer.exposure.values.data[number % 6] = 5.0
        data.add([number], planes[[number]], source.params[[number]])
        assert not trainer.exposure.values[number % 6].any(), "nothing is known of the new frame's exposure"
        losses.append(float(trainer.step().loss))
    everything = RGBAvatarTrainer(tracked.head, tracked.camera(32), source, preset)
    everything.avatar.feature_origin.copy_(trainer.avatar.feature_origin)
    for row, number in enumerate(data.numbers):
        torch.testing.assert_close(trainer.features[row], everything.avatar.features(source.params[[number]])[0])
        torch.testing.assert_close(trainer.surfaces.vertices[row], everything.surfaces.vertices[number])
    assert sorted(data.numbers) == [6, 7, 8, 9, 10, 11] and np.isfinite(losses).all()
    assert addresses == [trainer.features.data_ptr(), trainer.inputs.data_ptr(), trainer.surfaces.vertices.data_ptr()]
    pools = trainer.sampler.local + trainer.sampler.long_term
    assert sorted(pools) == [0, 1, 2, 3, 4, 5], "each row once, though each was two frames"
