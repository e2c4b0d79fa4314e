# SPDX-License-Identifier: Apache-2.0
"""Keys of stages: of what is in files and of options, and of nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blendsplat.batch.clips import Unit
from blendsplat.batch.recipe import Recipe
from blendsplat.batch.record import Record, import_key, is_whole, next_stage, track_key, train_key
from blendsplat.errors import InputError

RECIPE = Recipe()
MEGABYTE = 2**20


@pytest.fixture
def video(tmp_path: Path) -> Unit:
    """Eight random megabytes."""
    path = tmp_path / "a.mp4"
    path.write_bytes(np.random.default_rng(1).bytes(8 * MEGABYTE))
    return Unit("a", path, "video", tmp_path / "out")


@pytest.fixture
def pictures(tmp_path: Path) -> Unit:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(bytes([number]) * 20_000)
    return Unit("shots", folder, "pictures", tmp_path / "out")


@pytest.fixture
def clip(tmp_path: Path) -> Unit:
    folder = tmp_path / "clip"
    for name in ("images/0.png", "mattes/0.png", "valid/0.png", "tracking.npz", "clip.json", "overlay.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return Unit("clip", folder, "clip", tmp_path / "out")


def flip(path: Path, place: int) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("place", [0, MEGABYTE - 1, 4 * MEGABYTE, 7 * MEGABYTE + 5, 8 * MEGABYTE - 1])
def test_an_edited_video_is_another(video: Unit, place: int) -> None:
    before = import_key(video, RECIPE)
    flip(video.source, place)
    assert import_key(video, RECIPE) != before


def test_a_longer_video_is_another_and_a_copy_is_the_same(video: Unit, tmp_path: Path) -> None:
    before = import_key(video, RECIPE)
    copy = tmp_path / "elsewhere" / "b.mp4"
    copy.parent.mkdir()
    shutil.copy(video.source, copy)
    os.utime(copy, (1, 1))
    assert import_key(replace(video, source=copy, name="b"), RECIPE) == before
    with open(video.source, "ab") as file:
        file.write(b"x")
    assert import_key(video, RECIPE) != before
    assert import_key(replace(video, source=copy), Recipe(imports={"size": 256})) != before
    assert import_key(replace(video, source=copy), Recipe(device="cuda", track={"head": "x"})) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: flip(folder / "1.png", 10_000),
        lambda folder: (folder / "3.png").write_bytes(b"new"),
        lambda folder: (folder / "2.png").unlink(),
        lambda folder: (folder / "0.png").rename(folder / "00.png"),
    ],
)
def test_changed_pictures_are_others(pictures: Unit, change: Callable[[Path], object]) -> None:
    before = import_key(pictures, RECIPE)
    for other in (".thumbnails", "shots.avatar.npz", "notes.txt"):
        (pictures.source / other).write_bytes(b"no picture")
    assert import_key(pictures, RECIPE) == before
    change(pictures.source)
    assert import_key(pictures, RECIPE) != before


@pytest.mark.parametrize(
    ("name", "tracked", "trained"),
    [("clip.json", True, False), ("images/1.png", True, True), ("mattes/0.png", True, True),
     ("valid/0.png", False, True), ("tracking.npz", False, True), ("overlay.mp4", False, False)],
)  # fmt: skip
def test_what_a_stage_is_made_of(clip: Unit, name: str, tracked: bool, trained: bool) -> None:
    before = track_key(clip, RECIPE), train_key(clip, RECIPE)
    (clip.folder / name).write_bytes(b"something else, and longer")
    after = track_key(clip, RECIPE), train_key(clip, RECIPE)
    assert [one != other for one, other in zip(before, after, strict=True)] == [tracked, trained]


def test_what_cannot_be_read_is_said(clip: Unit) -> None:
    with pytest.raises(InputError, match=r"clip\.mp4 cannot be read: No such file"):
        next_stage(replace(clip, kind="video", source=clip.folder / "clip.mp4"), RECIPE, made_before(clip))
    (clip.folder / "tracking.npz").unlink()
    assert next_stage(clip, RECIPE, Record(clip.record)) == "track"


def made_before(unit: Unit) -> Record:
    """The record of an import, with its clip in place."""
    record, folder = Record(unit.record), unit.output / "clips" / unit.name
    record.finish("import", "key", seconds=1.0)
    folder.mkdir(parents=True)
    (folder / "clip.json").write_text("{}")
    return record


def test_whole_avatars(tmp_path: Path) -> None:
    whole = tmp_path / "a.avatar.npz"
    np.savez(whole, meta=np.zeros(4, np.uint8), x=np.arange(1000))
    assert is_whole(whole) and not is_whole(tmp_path / "none")
    data = whole.read_bytes()
    for length in (0, 10, len(data) // 2, len(data) - 30):
        whole.write_bytes(data[:length])
        assert not is_whole(whole)
    np.savez(whole, x=np.arange(3))
    assert not is_whole(whole)
