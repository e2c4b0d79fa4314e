# SPDX-License-Identifier: Apache-2.0
"""A tracked folder whose frames are corrected: what is written, what a cancelled or refused run leaves, what remains
when it is tracked again; and the lens that an artist gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blendsplat.errors import Cancelled, FormatError, InputError
from blendsplat.fitting.corrections import Corrections, corrected_frame, empty
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.tracking import CorrectOptions, TrackOptions, correct_clip, track_clip
from blendsplat.video import Clip
from blendsplat.video.clip import write_info
from synthetic_clip import FRAMES, SIZE, head_with_neck, make_folder, options
from synthetic_head import make_truth

FRAME = 6


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return head_with_neck()


@pytest.fixture
def folder(head: HeadModel, tmp_path: Path) -> Path:
    folder = make_folder(tmp_path / "klip ä", head, make_truth(head, FRAMES, size=SIZE, fov=27))
    track_clip(folder, options(head, overlay=False, valid_maps=False))
    return folder


def put(folder: Path, frame: int = FRAME, before: Corrections | None = None) -> Corrections:
    """The head a little to the side in one frame."""
    shown = Performance.load(folder)
    known = empty(shown) if before is None else before
    moved = corrected_frame(known, shown, frame, translation=shown.translation[frame] + np.float32([0.01, 0, 0]))
    moved.save(folder / "corrections.npz")
    return moved


def quick(head: HeadModel, **more) -> CorrectOptions:
    return CorrectOptions(head_model=head, overlay=False, **more)


def test_the_folder_is_written_again(head, folder):
    before = Performance.load(folder)
    put(folder)
    result = correct_clip(folder, CorrectOptions(head_model=head))
    after = Performance.load(folder)
    assert np.array_equal(after.translation, result.translation)
    assert after.translation[FRAME, 0] - before.translation[FRAME, 0] == pytest.approx(0.01, abs=5e-4)
    assert after.figures["corrected_frames"] == 1 and np.array_equal(after.K, before.K)
    assert np.array_equal(after.shape, before.shape)
    assert (folder / "overlay.mp4").exists() and (folder / "valid" / "000000.png").exists()
    assert np.array_equal(Performance.load(folder / "uncorrected.npz").translation, before.translation)


def test_only_what_changed_is_drawn_again(head, folder):
    """A quick correction writes the maps of the frames that moved."""
    put(folder, 0)
    shots = replace(Clip.open(folder).info, shots=(4,))
    write_info(folder, shots)
    correct_clip(folder, quick(head))
    assert sorted(path.name for path in (folder / "valid").iterdir()) == [f"{frame:06d}.png" for frame in range(4)]


def test_again_is_the_same_and_forgotten_is_gone(head, folder):
    before = Performance.load(folder)
    first = put(folder)
    once = correct_clip(folder, quick(head))
    again = correct_clip(folder, quick(head))
    assert np.array_equal(once.translation, again.translation)
    put(folder, 2, first)
    correct_clip(folder, quick(head))
    two = correct_clip(folder, quick(head, forget=2))
    assert np.array_equal(two.translation, once.translation) and list(Corrections.load(folder).frames) == [FRAME]
    correct_clip(folder, quick(head, forget=FRAME))
    after = Performance.load(folder)
    assert np.array_equal(after.translation, before.translation) and "corrected_frames" not in after.figures
    assert not (folder / "uncorrected.npz").exists()
    with pytest.raises(InputError, match="was not corrected"):
        correct_clip(folder, quick(head, forget=FRAME))


def test_tracked_again_the_corrections_still_hold(head, folder):
    before = Performance.load(folder)
    put(folder)
    again = track_clip(folder, options(head, overlay=False, valid_maps=False))
    assert again.translation[FRAME, 0] - before.translation[FRAME, 0] == pytest.approx(0.01, abs=5e-4)
    assert np.array_equal(Performance.load(folder / "uncorrected.npz").translation, before.translation)
    (folder / "corrections.npz").unlink()
    track_clip(folder, options(head, overlay=False, valid_maps=False))
    assert not (folder / "uncorrected.npz").exists()


def test_another_head_is_told_and_tracked_without(head, folder):
    put(folder)
    moved = replace(head, expression_directions=head.expression_directions * 1.1)
    again = track_clip(folder, options(moved, overlay=False, valid_maps=False))
    assert "corrected_frames" not in again.figures
    assert any("left out" in note and "another head" in note for note in again.notes)
    with pytest.raises(InputError, match="another head"):
        correct_clip(folder, quick(moved))


def test_a_new_file_takes_the_old_ones_place_when_it_succeeded(head, folder):
    put(folder)
    new = (folder / "corrections.npz").rename(folder / "corrections.new.npz")
    with pytest.raises(FormatError, match="gone"):
        correct_clip(folder, quick(head, corrections=folder / "gone.npz"))
    stopped = Progress()
    stopped.cancelled = True
    with pytest.raises(Cancelled):
        correct_clip(folder, quick(head, corrections=new), stopped)
    assert not (folder / "corrections.npz").exists()
    correct_clip(folder, quick(head, corrections=new))
    assert list(Corrections.load(folder).frames) == [FRAME] and new.exists()


@pytest.mark.parametrize("stage", ["correct", "overlay"])
def test_cancelled_the_former_tracking_stays(head, folder, stage):
    class Stop(Progress):
        def update(self, at: str, done: float, total: float, message: str = "", **figures: float) -> None:
            self.cancelled = self.cancelled or at == stage

    put(folder)
    before = (folder / "tracking.npz").read_bytes()
    with pytest.raises(Cancelled):
        correct_clip(folder, CorrectOptions(head_model=head), Stop())
    assert (folder / "tracking.npz").read_bytes() == before
    assert not (folder / "uncorrected.npz").exists()


def test_a_damaged_file_is_named_before_anything_is_done(head, folder):
    before = (folder / "tracking.npz").read_bytes()
    with pytest.raises(InputError, match="correct a frame first"):
        correct_clip(folder, quick(head))
    (folder / "corrections.npz").write_bytes(b"nothing")
    for work in (lambda: correct_clip(folder, quick(head)), lambda: track_clip(folder, options(head))):
        with pytest.raises(FormatError, match=r"corrections\.npz"):
            work()
    assert (folder / "tracking.npz").read_bytes() == before


def test_without_what_it_needs(head, folder):
    put(folder)
    correct_clip(folder, quick(head))
    (folder / "uncorrected.npz").unlink()
    with pytest.raises(InputError, match=r"uncorrected\.npz is missing"):
        correct_clip(folder, quick(head))
    track_clip(folder, options(head, overlay=False, valid_maps=False))
    (folder / "landmarks.npz").unlink()
    with pytest.raises(InputError, match=r"no landmarks\.npz"):
        correct_clip(folder, quick(head))


def test_the_artists_lens(head, folder):
    """A crop of 256 at (100, 40) out of 640 x 480, its images as they were: focal length and shift are the source's."""
    info = replace(Clip.open(folder).info, crop=(100, 40, SIZE // 2), source_size=(640, 480))
    write_info(folder, info)
    chosen = TrackOptions(
        head="synthetic", head_model=head, overlay=False, valid_maps=False, lens_mm=45.0, lens_shift=(0.05, -0.1)
    )
    result = track_clip(folder, chosen)
    assert result.K[0, 0] == pytest.approx(45 / 36 * 640 * 2)
    assert result.K[0, 2] == pytest.approx((320 - 0.05 * 640 - 100) * 2)
    assert result.K[1, 2] == pytest.approx((240 - 0.1 * 640 - 40) * 2)
