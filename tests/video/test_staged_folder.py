# SPDX-License-Identifier: Apache-2.0
"""Putting a clip in place, stopped at every step of it: what is there is the former clip or the new one, never both."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from blendsplat.errors import InputError, StorageError
from blendsplat.video import staged_folder
from blendsplat.video.staged_folder import recover, staged_results, staging

OLD = {"images/0": "old", "images/1": "old", "tracking.npz": "old", "overlay.mp4": "old", "clip.json": "old"}
NEW = {"images/0": "new", "mattes/0": "new", "clip.json": "new"}  # no tracking, but mattes


class Killed(BaseException):
    """In place of SIGKILL, after which nothing of the process runs."""


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path) -> dict[str, str]:
    """All files but hidden ones."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path.read_text() for path in paths}
    return {name: text for name, text in names.items() if not name.startswith(".")}


def left_by_kills(folder: Path, monkeypatch: pytest.MonkeyPatch, old: dict[str, str]) -> list[Path]:
    """Copies of a folder of ``old`` as it lies there when the n-th renaming of a new clip never happens."""
    made, real = [], Path.rename

    for number in range(20):
        home = folder / f"{number}"
        home.mkdir()
        write(home, old)
        count = 0

        def rename(path: Path, target: Path, home: Path = home, number: int = number) -> Path:
            nonlocal count
            count += 1
            if count == number + 1:
                shutil.copytree(home, folder / f"killed {number}")
                raise Killed
            return real(path, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", rename)
            try:
                with staging(home, overwrite=True) as stage:
                    write(stage, NEW)
            except Killed:
                made.append(folder / f"killed {number}")
                continue
        return made
    raise AssertionError("it never ended")


@pytest.mark.parametrize("old", [OLD, {}])
def test_a_kill_at_any_renaming_leaves_one_whole_clip(tmp_path, monkeypatch, old) -> None:
    killed = left_by_kills(tmp_path, monkeypatch, old)
    assert len(killed) >= len(NEW)
    for folder in killed:
        assert recover(folder)
        assert read(folder) in (old, NEW)
        assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
        with staging(folder, overwrite=True) as stage:
            write(stage, NEW)
        assert read(folder) == NEW


def test_a_recovery_that_is_killed_is_gone_on_with(tmp_path, monkeypatch) -> None:
    for folder in left_by_kills(tmp_path, monkeypatch, OLD):
        real = Path.rename
        for _ in range(20):
            done = []

            def once(path: Path, target: Path, done: list[Path] = done, real=real) -> Path:
                if done:
                    raise Killed
                done.append(path)
                return real(path, target)

            with monkeypatch.context() as patched:
                patched.setattr(Path, "rename", once)
                try:
                    recover(folder)
                    break
                except Killed:
                    continue
        assert read(folder) in (OLD, NEW)


def test_a_file_that_cannot_be_moved_costs_nothing(tmp_path, monkeypatch) -> None:
    """On Windows: overlay.mp4 is open in a player."""
    write(tmp_path, OLD)
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name == "overlay.mp4":
            raise PermissionError(13, "in use by another program")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(StorageError, match="in use"), staging(tmp_path, overwrite=True) as stage:
        write(stage, NEW)
    assert read(tmp_path) == OLD


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a file's lock is taken otherwise on Windows")
def test_a_clip_that_somebody_writes_is_left_alone(tmp_path) -> None:
    write(tmp_path, OLD)
    with staging(tmp_path, overwrite=True) as stage:
        write(stage, NEW)
        assert not recover(tmp_path)
        with pytest.raises(InputError, match="is being written"), staging(tmp_path, overwrite=True):
            pass
    assert read(tmp_path) == NEW


def test_results_replace_their_own_names_together(tmp_path) -> None:
    write(tmp_path, {**OLD, "valid/0": "old", "valid/1": "old", "uncorrected.npz": "old"})
    with staged_results(tmp_path, ["uncorrected.npz"]) as stage:
        write(stage, {"valid/0": "new", "tracking.npz": "new"})
        assert read(tmp_path)["tracking.npz"] == "old"
    assert read(tmp_path) == {**OLD, "valid/0": "new", "tracking.npz": "new"}
    with pytest.raises(ValueError), staged_results(tmp_path) as stage:
        write(stage, {"tracking.npz": "newer"})
        raise ValueError
    assert read(tmp_path)["tracking.npz"] == "new"
    assert not list(tmp_path.glob(f"{staged_folder._PREFIX}*"))


def test_a_disk_that_vanishes_is_no_fault_of_ours(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="went away"), staging(tmp_path / "clip", overwrite=False) as stage:
        shutil.rmtree(tmp_path / "clip")
        (stage / "images").mkdir()
