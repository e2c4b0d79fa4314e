# SPDX-License-Identifier: Apache-2.0
"""A take that a crash cut off is a clip when it is next opened, with all but its last moments."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from blendsplat.errors import FormatError, InputError
from blendsplat.heads.performance import Performance
from blendsplat.jobs.clip_work import need_tracking
from blendsplat.live.look import Looked
from blendsplat.live.take import JOURNAL, Take, complete_take, unfinished
from blendsplat.live.tracker import TrackedFrame
from blendsplat.video import Clip
from blendsplat.video.clip import ClipInfo
from tiny_clip import SIZE, tiny_head, tiny_tracking

FRAMES = 5
ROWS = "rows.bin"


def frames(lost: tuple[int, ...] = (2,)) -> list[TrackedFrame]:
    rng, params = np.random.default_rng(0), tiny_tracking(tiny_head(), FRAMES).params()
    made = []
    for number in range(FRAMES):
        image = rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8)
        points = None if number in lost else rng.normal(size=(478, 3)).astype(np.float32)
        looked = Looked(number, 3.0 + number / 10, image, image[..., 0], points)
        made.append(TrackedFrame(looked, None if number in lost else params[[number]], 0.02, image[..., 1], None))
    return made


def recorded(folder: Path, lost: tuple[int, ...] = (2,)) -> Take:
    info = ClipInfo("cam", (64, 48), 0.0, None, (1, 2, 40), SIZE, SIZE, 25.0, [], "external", notes=["framed"])
    take = Take(folder, tiny_tracking(tiny_head(), FRAMES, seed=3), info, "truth")
    for frame in frames(lost):
        take.add(frame)
    return take


def test_a_crash_loses_at_most_the_last_moment(tmp_path: Path) -> None:
    folder = tmp_path / "täke"
    recorded(folder)  # and then the program is gone
    rows = folder / JOURNAL / ROWS
    rows.write_bytes(rows.read_bytes()[:-7])
    assert unfinished(folder)
    with pytest.raises(FormatError, match="not an imported clip"):
        Clip.open(folder)
    need_tracking(folder)
    clip, performance = Clip.open(folder), Performance.load(folder)
    assert not unfinished(folder) and clip.frame_count == performance.frame_count == FRAMES - 1
    assert "did not end by itself" in clip.info.notes[-1] and clip.info.notes[0] == "framed"
    np.testing.assert_allclose(clip.timestamps, np.arange(FRAMES - 1) / 10, atol=1e-9)
    assert clip.fps == pytest.approx(10) and (clip.info.crop, clip.info.detector) == ((1, 2, 40), "truth")
    want = tiny_tracking(tiny_head(), FRAMES)
    assert performance.valid.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(performance.expression, want.expression[[0, 1, 1, 3]])
    np.testing.assert_array_equal(clip.image(3), frames()[3].looked.image)
    need_tracking(folder)  # as any other clip


def test_a_take_without_a_face_leaves_nothing(tmp_path: Path) -> None:
    assert recorded(tmp_path / "a", lost=tuple(range(FRAMES))).finish() is None
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    recorded(tmp_path / "b", lost=tuple(range(FRAMES))).finish()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["notes.txt"]


def test_damage_is_told_and_nothing_is_overwritten(tmp_path: Path) -> None:
    take = recorded(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / JOURNAL / "take.json").write_text("{")
    with pytest.raises(FormatError, match=r"live take in .* is damaged"):
        complete_take(tmp_path / "b")
    take.finish()
    with pytest.raises(InputError, match="already holds a clip"):
        recorded(tmp_path / "a")


def test_the_journal_ends_where_it_is_damaged(tmp_path: Path) -> None:
    """A power cut leaves anything in the last pages of a file: what comes before is kept."""
    for name, filling in (("nan", b"\xff"), ("zeros", b"\0")):
        recorded(tmp_path / name, lost=())
        rows = tmp_path / name / JOURNAL / ROWS
        content = rows.read_bytes()
        size = len(content) // FRAMES
        rows.write_bytes(content[: 3 * size] + filling * (2 * size))
        performance = complete_take(tmp_path / name)
        assert performance is not None and performance.frame_count == Clip.open(tmp_path / name).frame_count == 3


def test_pictures_are_not_removed_because_the_journal_is_gone(tmp_path: Path) -> None:
    recorded(tmp_path)
    (tmp_path / JOURNAL / ROWS).write_bytes(b"")
    with pytest.raises(FormatError, match="pictures of which the journal says nothing"):
        complete_take(tmp_path)
    assert len(list((tmp_path / "images").iterdir())) == FRAMES
