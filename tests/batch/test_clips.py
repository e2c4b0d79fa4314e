# SPDX-License-Identifier: Apache-2.0
"""What of a folder is a clip, what it is called, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from blendsplat.batch.clips import Unit, find_clips, part_of
from blendsplat.errors import InputError


def video(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def clip(path: Path, source: str = "elsewhere.mp4") -> Path:
    path.mkdir(parents=True)
    (path / "clip.json").write_text(json.dumps({"source": source}))
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Ten kinds of things."""
    folder = tmp_path / "clips ü"
    video(folder / "take 10.MP4")
    video(folder / "take 2.mov")
    video(folder / "stills" / "0.png")
    video(folder / "of videos" / "a.mp4")  # only a folder's own level is looked at
    clip(folder / "tracked")
    (folder / "take in work" / "live-journal").mkdir(parents=True)
    (folder / "empty").mkdir()
    video(folder / "notes.txt")
    video(folder / ".hidden.mp4")
    return folder


def test_clips_of_a_folder(clips: Path, tmp_path: Path) -> None:
    units, notes = find_clips([clips], tmp_path / "out")
    assert [(unit.name, unit.kind) for unit in units] == [
        ("stills", "pictures"), ("take 2", "video"), ("take 10", "video"), ("take in work", "clip"),
        ("tracked", "clip"),
    ]  # fmt: skip
    assert units[-1].folder == clips / "tracked" and units[1].folder == tmp_path / "out" / "clips" / "take 2"
    assert all(word in notes[0] for word in ("notes.txt", "empty", "of videos")) and "hidden" not in notes[0]
    assert [Unit.from_json(unit.as_json()) for unit in units] == units


def test_links_are_called_what_they_are_called(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "ann.mov").symlink_to(clips / "take 2.mov")
    clip(tmp_path / "linked" / "ann", str(clips / "take 2.mov"))
    units, _ = find_clips([tmp_path / "linked" / "ann.mov"], tmp_path / "out")
    assert [unit.name for unit in units] == ["ann"]
    units, notes = find_clips([tmp_path / "linked"], tmp_path / "out")
    assert [unit.kind for unit in units] == ["clip"] and "ann.mov was imported into ann" in notes[0]


def test_single_clips(clips: Path, tmp_path: Path) -> None:
    units, _ = find_clips([clips / "take 2.mov", clips / "stills", clips / "tracked"], tmp_path / "out")
    assert [unit.name for unit in units] == ["stills", "take 2", "tracked"]


def test_avatars_beside_the_clips(clips: Path) -> None:
    """What a batch writes is no clip of the next."""
    before, _ = find_clips([clips], clips)
    for name in ("take 2.avatar.npz", "take 2.checkpoint.safetensors", "batch/take 2.log"):
        video(clips / name)
    clip(clips / "clips" / "take 2")
    after, notes = find_clips([clips], clips)
    assert after == before and "avatar" not in notes[0]


def test_avatars_among_the_pictures(clips: Path) -> None:
    for output in (clips / "stills" / "avatars", clips / "stills"):
        before, _ = find_clips([clips / "stills"], output)
        video(output / "stills.avatar.npz")
        clip(output / "clips" / "stills")
        after, _ = find_clips([clips / "stills"], output)
        assert after == before and after[0].kind == "pictures"
        shutil.rmtree(output / "clips")
        if output.name == "avatars":
            shutil.rmtree(output)


def test_a_video_that_was_imported_beside_itself(clips: Path, tmp_path: Path) -> None:
    clip(clips / "take 2", str(clips / "take 2.mov"))
    units, notes = find_clips([clips], tmp_path / "out")
    assert [unit.kind for unit in units if unit.name == "take 2"] == ["clip"]
    assert any("take 2.mov was imported into take 2" in note for note in notes)


@pytest.mark.parametrize("other", ["take 2.mp4", "TAKE 2.webm"])
def test_two_of_a_name_are_refused(clips: Path, tmp_path: Path, other: str) -> None:
    video(clips / other)
    with pytest.raises(InputError, match=r"would both become (?i:take 2)\.avatar\.npz: rename one"):
        find_clips([clips], tmp_path / "out")


def test_nothing_to_do_is_said(clips: Path, tmp_path: Path) -> None:
    for source, words in ((clips / "empty", "holds no clip"), (clips / "gone", "does not exist"),
                          (clips / "notes.txt", "neither a folder")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            find_clips([source], tmp_path / "out")


def test_parts_are_all_together(clips: Path, tmp_path: Path) -> None:
    units, _ = find_clips([clips], tmp_path / "out")
    for parts in (1, 2, 5, 7):
        shares = [part_of(units, part, parts) for part in range(1, parts + 1)]
        assert sorted(unit.name for share in shares for unit in share) == sorted(unit.name for unit in units)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for wrong in (0, 3):
        with pytest.raises(InputError, match="does not exist"):
            part_of(units, wrong, 2)
