# SPDX-License-Identifier: Apache-2.0
"""Write a whole clip, tracking or fit aside and put it in place at the end: cancelling, a full disk or a
crash leaves what was there.

The stage is a hidden folder inside the target (the same disk, so putting in place is renaming). Putting in place has
two halves, told apart by a folder's name, so that after a kill ``recover`` knows the way: while what was there moves
into ``old``, it goes back; once that is ``replaced``, what is new goes on into its places.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from blendsplat.errors import InputError, StorageError
from blendsplat.files import abandoned, lock, way_out
from blendsplat.video.clip import CONTENTS

_PREFIX = ".blendsplat-import-"
_LOCK, _OLD, _REPLACED = ".in-use", "old", "replaced"
_LAST = ("tracking.npz", "fit.json", "clip.json")  # what says that all the rest is there


@contextlib.contextmanager
def staging(directory: Path, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder to write the clip into; if the block succeeds, its contents replace those of ``directory``.

    Raises InputError when ``directory`` holds a clip (unless ``overwrite``) or something else under a clip's names,
    StorageError when the disk refuses. Only files and folders with a clip's names are ever replaced.
    """
    made_directory = not directory.exists()
    if not recover(directory):
        raise InputError(
            f"Another clip is being written into {directory}; wait until it is there, or choose another folder."
        )
    check_target(directory, overwrite)
    try:
        with _stage(directory) as stage:
            yield stage
            _put_in_place(stage, directory, CONTENTS)
        made_directory = False
    finally:
        if made_directory:
            with contextlib.suppress(OSError):
                directory.rmdir()


@contextlib.contextmanager
def staged_results(directory: Path, leaving: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty folder for files and folders that belong together; if the block succeeds, they replace those of
    the same names in ``directory``, and those in ``leaving`` go. Raises StorageError."""
    recover(directory)
    with _stage(directory) as stage:
        yield stage
        _put_in_place(stage, directory, [*_new(stage), *leaving])


def recover(directory: Path) -> bool:
    """Clean up after killed processes: what one was putting in place is whole again, the former or the new; unfinished
    stages go -> whether nobody else is writing into ``directory``. Raises StorageError."""
    alone = True
    try:
        for stage in directory.glob(_PREFIX + "*"):
            if abandoned(stage / _LOCK):
                _complete(stage, directory)
                shutil.rmtree(stage)
            else:
                alone = False
    except OSError as error:
        raise _refused(directory, error) from error
    return alone


def check_target(directory: Path, overwrite: bool) -> None:
    """Raise InputError where a clip may not be written: see ``staging``."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; choose a folder for the clip.")
    if (directory / "clip.json").exists():
        if not overwrite:
            raise InputError(
                f"{directory} already holds a clip; choose another folder, or allow it to be overwritten (--overwrite)."
            )
        return
    foreign = [name for name in CONTENTS if (directory / name).exists()]
    if foreign:
        raise InputError(
            f"{directory} holds {', '.join(foreign)} that no import made; choose another folder for the clip."
        )


@contextlib.contextmanager
def _stage(directory: Path) -> Iterator[Path]:
    """A stage that is marked as in use; it goes at the end, unless it still holds what could not be put back."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=directory))
        handle = os.open(stage / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        lock(handle)
    except OSError as error:
        raise _refused(directory, error) from error
    try:
        yield stage
    except BaseException as error:
        with contextlib.suppress(OSError):
            _complete(stage, directory)
        if isinstance(error, OSError) and not stage.is_dir():
            raise StorageError(
                f"The folder {directory} went away while it was written; look whether the disk is still there.",
                repr(error),
            ) from error
        raise
    finally:
        os.close(handle)
        if not _holds_needed(stage):
            shutil.rmtree(stage, ignore_errors=True)


def _holds_needed(stage: Path) -> bool:
    """Whether files that the folder should have are only here."""
    with contextlib.suppress(OSError):
        if (stage / _OLD).is_dir():
            return any((stage / _OLD).iterdir())
        return (stage / _REPLACED).is_dir() and bool(_new(stage))
    return True


def _put_in_place(stage: Path, directory: Path, leaving: Sequence[str]) -> None:
    """``leaving`` goes into the stage, what says that it is whole first; what is new comes out of it, that last."""
    try:
        old = stage / _OLD
        old.mkdir()
        for name in sorted(leaving, key=_weight, reverse=True):
            if (directory / name).exists():
                (directory / name).rename(old / name)
        old.rename(stage / _REPLACED)
        _complete(stage, directory)
    except OSError as error:
        raise StorageError(
            f"Could not move what is new into {directory}: {error.strerror}. {way_out(error)}", repr(error)
        ) from error


def _complete(stage: Path, directory: Path) -> None:
    """Take the putting in place of ``stage`` back, or to its end; nothing where it had not begun."""
    old = stage / _OLD
    if old.is_dir():
        for name in sorted((entry.name for entry in old.iterdir()), key=_weight):
            _remove(directory / name)
            (old / name).rename(directory / name)
    elif (stage / _REPLACED).is_dir():
        for name in _new(stage):
            (stage / name).rename(directory / name)


def _new(stage: Path) -> list[str]:
    """Names of what is to be put in place, what says that it is whole last."""
    return sorted({entry.name for entry in stage.iterdir()} - {_LOCK, _OLD, _REPLACED}, key=_weight)


def _weight(name: str) -> int:
    return _LAST.index(name) if name in _LAST else -1


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refused(directory: Path, error: OSError) -> StorageError:
    return StorageError(f"The folder {directory} cannot be written: {error.strerror}. {way_out(error)}", repr(error))
