# SPDX-License-Identifier: Apache-2.0
"""Training data: the split, the resolution, soft mattes, and folders that are not tracked clips."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.errors import Cancelled, FormatError, InputError
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.training import tracked_clip
from blendsplat.training.tracked_clip import TrackedClip, confidence_weights, split_frames, training_size
from blendsplat.video import Clip
from blendsplat.video.foreground import foreground
from tiny_clip import tiny_head, write_tiny_clip


def test_the_last_part_is_held_out_and_invalid_frames_are_in_neither() -> None:
    valid = np.ones(100, bool)
    valid[[3, 80]] = False
    training, held = split_frames(valid, 0.3)
    assert training == [i for i in range(70) if i != 3] and held == [i for i in range(70, 100) if i != 80]
    assert len(split_frames(valid, 35)[1]) == 34
    assert split_frames(valid, 0)[1] == []
    with pytest.raises(InputError, match="holdout"):
        split_frames(valid, 350)
    with pytest.raises(InputError, match="face was found in 0"):
        split_frames(np.zeros(100, bool), 0.3)


@pytest.mark.parametrize("why", ["repeats", "faded"])
def test_frames_that_repeat_or_fade_are_neither_trained_on_nor_scored(tmp_path: Path, why: str) -> None:
    write_tiny_clip(tmp_path, frames=16)
    told = json.loads((tmp_path / "clip.json").read_text())
    before = TrackedClip.open(tmp_path).split(0.3)
    (tmp_path / "clip.json").write_text(json.dumps(told | {why: [1, 3, 14]}))
    training, held_out = TrackedClip.open(tmp_path).split(0.3)
    assert training == [i for i in before[0] if i not in (1, 3)] and held_out == [i for i in before[1] if i != 14]


def test_frames_at_a_smaller_size_are_area_means_of_premultiplied_colours(tiny_clip: Path) -> None:
    tracked = TrackedClip.open(tiny_clip)
    full, half = tracked.load([5], 32, 32), tracked.load([5], 16, 16)
    mean = full.premultiplied.float().reshape(1, 16, 2, 16, 2, 3).mean((2, 4))
    assert (mean - half.premultiplied.float()).abs().max() <= 1
    batch = half.batch([0])
    backgrounds = torch.tensor([[1.0, 0.5, 0.0]])
    target = batch.target(backgrounds)
    torch.testing.assert_close(target, batch.premultiplied + (1 - batch.alpha) * backgrounds)
    assert float(target.max()) <= 1 + 1 / 255
    camera = tracked.camera(16)
    torch.testing.assert_close(camera.K[:2] * 2, torch.as_tensor(tracked.tracking.K[:2]))


def test_frames_of_a_lens_that_zooms_are_brought_to_one_focal_length(tmp_path: Path) -> None:
    """A clip of which every frame was taken at another focal length is the clip at one, where its pictures reach."""
    write_tiny_clip(tmp_path / "plain", 4, 96)
    zoom = np.array([1.0, 1.3, 0.9, 0.8], np.float32)
    write_tiny_clip(tmp_path / "zoomed", 4, 96, zoom=zoom)
    wanted, zooming = TrackedClip.open(tmp_path / "plain"), TrackedClip.open(tmp_path / "zoomed")
    assert torch.equal(zooming.camera(96).K, wanted.camera(96).K) and np.array_equal(zooming.tracking.zoom, zoom)
    for size in (96, 48):
        one, other = (tracked.load([0, 1, 2, 3], size, size) for tracked in (wanted, zooming))
        assert torch.equal(one.premultiplied[0], other.premultiplied[0]) and (other.valid[0] == 255).all()
        apart = (one.premultiplied.float() - other.premultiplied.float()).abs()
        difference = (apart * (other.valid == 255)[..., None]).mean((1, 2, 3))
        assert difference.max() < 2.0, difference
        assert (other.valid[1, 0] == 0).all() and (other.valid[1, size // 2, size // 4 : -size // 4] == 255).all()
        assert (other.valid[2:] == 255).all()
    raw = np.stack([zooming.clip.matte(1), wanted.clip.matte(1)]).astype(float)
    assert np.abs(raw[0] - raw[1]).mean() > 8, "the pictures themselves differ"


@pytest.mark.parametrize("matte", ["alpha", "external", "mediapipe-selfie", "folder"])
def test_the_background_is_taken_out_of_mixed_pixels_but_not_of_a_files_own_colours(tmp_path: Path, matte: str) -> None:
    write_tiny_clip(tmp_path, 4)
    info = json.loads((tmp_path / "clip.json").read_text())
    (tmp_path / "clip.json").write_text(json.dumps(info | {"matte": matte}))
    tracked = TrackedClip.open(tmp_path)
    image, alpha = tracked.clip.image(2), tracked.clip.matte(2)
    multiplied = (image * (alpha[..., None].astype(np.float32) / 255) + 0.5).astype(np.uint8)
    loaded = tracked.load([2], tracked.clip.width, tracked.clip.height).premultiplied[0].numpy()
    expected = multiplied if matte in ("alpha", "external") else foreground(image, alpha)
    np.testing.assert_array_equal(loaded, expected)
    assert not np.array_equal(multiplied, foreground(image, alpha))


def test_size_is_never_enlarged_and_keeps_the_aspect() -> None:
    assert training_size(480, 480, 512) == (480, 480)
    assert training_size(640, 480, 320) == (320, 240)
    assert training_size(3, 2000, 16) == (1, 16)


def test_frames_count_by_the_root_of_their_confidence() -> None:
    weights = confidence_weights(torch.tensor([1.0, 0.25, 0.0, 1.5]))
    torch.testing.assert_close(weights / weights[0], torch.tensor([1.0, 0.5, 0.0, 1.0]))
    assert float(weights.mean()) == pytest.approx(1)
    for alike in (1.0, 0.7, 0.0):
        assert torch.equal(confidence_weights(torch.full((7,), alike)), torch.ones(7)), alike


def test_fingerprint_follows_tracking_and_images(tmp_path: Path) -> None:
    write_tiny_clip(tmp_path, 4)
    first = TrackedClip.open(tmp_path).fingerprint
    assert TrackedClip.open(tmp_path).fingerprint == first
    Clip.open(tmp_path).write_valid(2, np.zeros((32, 32), np.uint8))
    second = TrackedClip.open(tmp_path).fingerprint
    tracking = Performance.load(tmp_path)
    tracking.translation = tracking.translation + np.float32(0.01)
    tracking.save(tmp_path / "tracking.npz")
    assert len({first, second, TrackedClip.open(tmp_path).fingerprint}) == 3


def test_folders_that_cannot_be_trained_on(tiny_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="track the clip first"):
        TrackedClip.open(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(tiny_clip, copy)
    write_tiny_clip(tmp_path / "short", 3)
    shutil.copy(tmp_path / "short" / "tracking.npz", copy)
    with pytest.raises(FormatError, match="16 images but 3 tracked"):
        TrackedClip.open(copy)
    monkeypatch.setattr("blendsplat.heads.load.load_head", lambda source, **_: tiny_head(rows=7))
    with pytest.raises(InputError, match="track the clip again"):
        TrackedClip.open(tiny_clip)


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    write_tiny_clip(tmp_path, 3)
    (tmp_path / "images" / "000001.png").write_bytes(b"no picture")
    with pytest.raises(FormatError, match=r"000001\.png"):
        TrackedClip.open(tmp_path).load([0, 1], 32, 32)


def test_cancelling_waits_for_no_other_frame(tiny_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress, read, reads = Progress(), tracked_clip._layers, []

    def watched(*arguments):
        reads.append(arguments[1])
        progress.cancelled = True
        return read(*arguments)

    monkeypatch.setattr(tracked_clip, "_layers", watched)
    with pytest.raises(Cancelled):
        TrackedClip.open(tiny_clip).load(list(range(16)) * 40, 32, 32, progress=progress)
    assert len(reads) < 320, "of 640"
