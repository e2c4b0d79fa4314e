# SPDX-License-Identifier: Apache-2.0
"""What was made of a clip, and from what: so that a batch does nothing twice, and again what was made of other input.

A stage's key is a hash of its input and its options. It is written before the stage begins and marked done after its
files are whole, so what a killed process left is never taken for finished.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from blendsplat.batch.clips import Unit, imported_from
from blendsplat.batch.recipe import Recipe
from blendsplat.errors import FormatError, InputError
from blendsplat.files import read_json, write_json

FORMAT, VERSION = "blendsplat-batch", 1
Stage = Literal["import", "track", "train"]
_BLOCK = 2**20


class Record:
    """NAME.json of a clip: per stage {key, done, and what the stage tells}. A damaged file is no record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stages: dict[str, dict[str, Any]] = {}
        try:
            data = read_json(path)
            if data["format"] == FORMAT and data["version"] <= VERSION:
                self.stages = {name: dict(stage) for name, stage in data["stages"].items()}
        except (FormatError, OSError, ValueError, KeyError, TypeError, AttributeError):
            pass

    def is_done(self, stage: Stage, key: str) -> bool:
        told = self.stages.get(stage, {})
        return bool(told.get("done")) and told.get("key") == key

    def begin(self, stage: Stage, key: str) -> None:
        self._write(stage, {"key": key, "done": False})

    def finish(self, stage: Stage, key: str, **told: Any) -> None:
        self._write(stage, {"key": key, "done": True, **told})

    def _write(self, stage: Stage, told: dict[str, Any]) -> None:
        self.stages[stage] = told
        write_json(self.path, {"format": FORMAT, "version": VERSION, "stages": self.stages})


def import_key(unit: Unit, recipe: Recipe) -> str:
    """Of a video or a folder of pictures; another file, a changed one, or other options give another key."""
    if unit.kind == "video":
        content = [_sample(unit.source, _BLOCK)]
    else:
        from blendsplat.video.images import list_images

        content = [f"{path.name} {_sample(path, 4096)}" for path in list_images(unit.source)]
    return _hash(["import", content, recipe.imports])


def track_key(unit: Unit, recipe: Recipe) -> str:
    """Of an imported clip."""
    return _hash(["track", *_clip_content(unit.folder, ("images", "mattes"), ("clip.json",)), recipe.track])


def train_key(unit: Unit, recipe: Recipe) -> str:
    """Of a tracked clip: a tracking that was corrected by hand afterwards gives another key."""
    content = _clip_content(unit.folder, ("images", "mattes", "valid"), ("tracking.npz",))
    return _hash(["train", *content, recipe.identity])


def next_stage(unit: Unit, recipe: Recipe, record: Record) -> Stage | None:
    """What has to be done first of what is left; None: the avatar is finished. Raises InputError for what cannot be
    read."""
    try:
        return _next_stage(unit, recipe, record)
    except OSError as error:
        raise InputError(f"{error.filename or unit.source} cannot be read: {error.strerror}.", repr(error)) from error


def _next_stage(unit: Unit, recipe: Recipe, record: Record) -> Stage | None:
    if unit.kind != "clip" and not _is_imported(unit, recipe, record):
        return "import"
    if not (unit.folder / "tracking.npz").is_file():
        return "track"
    # whose tracking this is not, it is the user's, and is not made again
    if "track" in record.stages and not record.is_done("track", track_key(unit, recipe)):
        return "track"
    return None if record.is_done("train", train_key(unit, recipe)) and is_whole(unit.avatar) else "train"


def _is_imported(unit: Unit, recipe: Recipe, record: Record) -> bool:
    if not (unit.folder / "clip.json").is_file():
        return False
    if "import" not in record.stages:  # somebody imported it there by hand
        return imported_from(unit.folder) == unit.source.resolve()
    return record.is_done("import", import_key(unit, recipe))


def is_whole(avatar: Path) -> bool:
    """Whether an avatar file can be opened; it is not read."""
    try:
        with zipfile.ZipFile(avatar) as archive:
            return "meta.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _clip_content(folder: Path, pictures: Iterable[str], files: Iterable[str]) -> list[Any]:
    """The files' contents, and every picture's name and size."""
    listing = [
        [name, sorted((path.name, path.stat().st_size) for path in (folder / name).glob("*.png"))] for name in pictures
    ]
    return [[hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files], listing]


def _sample(path: Path, block: int) -> str:
    """A hash of a file's size and of its first, middle and last ``block`` bytes: a second for gigabytes, and no edit of
    a video leaves all of them alone."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for start in sorted({0, max(size // 2 - block // 2, 0), max(size - block, 0)}):
            file.seek(start)
            digest.update(file.read(block))
    return digest.hexdigest()


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
