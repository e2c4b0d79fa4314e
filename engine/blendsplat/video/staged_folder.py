# SPDX-License-Identifier: Apache-2.0
"""Write a whole clip aside and put it in place at the end: cancelling, a full disk or a crash leaves what was there.

The stage is a hidden folder inside the target (the same disk, so putting in place is renaming).
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from blendsplat.errors import InputError, StorageError
from blendsplat.video.clip import CONTENTS

_PREFIX = ".blendsplat-import-"


@contextlib.contextmanager
def staging(directory: Path, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder to write the clip into; if the block succeeds, its contents replace those of ``directory``.

    Raises InputError when ``directory`` holds a clip (unless ``overwrite``) or something else under a clip's names,
    StorageError when the disk refuses. Only files and folders with a clip's names are ever replaced.
    """
    made_directory = not directory.exists()
    check_target(directory, overwrite)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(directory)
        stage = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=directory))
    except OSError as error:
        raise StorageError(
            f"The folder {directory} cannot be written: {error.strerror}. Choose another one.", repr(error)
        ) from error
    try:
        yield stage
        try:
            _put_in_place(stage, directory)
        except OSError as error:
            raise StorageError(f"Could not move the clip into {directory}: {error.strerror}.", repr(error)) from error
        made_directory = False
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if made_directory:
            with contextlib.suppress(OSError):
                directory.rmdir()


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
    if foreign and not any(directory.glob(_PREFIX + "*/old")):
        raise InputError(
            f"{directory} holds {', '.join(foreign)} that no import made; choose another folder for the clip."
        )


def _remove_leftovers(directory: Path) -> None:
    """Clean up after an import that was killed; one killed while putting in place gets its old clip back first."""
    for stage in directory.glob(_PREFIX + "*"):
        if (stage / "old").is_dir() and not (directory / "clip.json").exists():
            for name in CONTENTS:
                if (stage / "old" / name).exists():
                    _remove(directory / name)
                    (stage / "old" / name).rename(directory / name)
        shutil.rmtree(stage)


def _put_in_place(stage: Path, directory: Path) -> None:
    """Old contents go into the stage (clip.json first), new ones come out of it (clip.json last)."""
    old = stage / "old"
    old.mkdir()
    for name in reversed(CONTENTS):
        if (directory / name).exists():
            (directory / name).rename(old / name)
    for name in CONTENTS:
        if (stage / name).exists():
            (stage / name).rename(directory / name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
