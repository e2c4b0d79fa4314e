# SPDX-License-Identifier: Apache-2.0
"""What a batch is made of: the clips of a folder, what each will be called, and where everything of it lies."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from blendsplat.errors import FormatError, InputError
from blendsplat.file_names import folded, name_in
from blendsplat.files import read_json

VIDEO_SUFFIXES = {
    ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv",
    ".ts", ".webm", ".wmv",
}  # fmt: skip
Kind = Literal["video", "pictures", "clip"]


@dataclass(frozen=True)
class Unit:
    """One clip of a batch. kind: a video, a folder of pictures, or a clip folder, which is used where it is. output:
    the folder of the whole batch."""

    name: str
    source: Path
    kind: Kind
    output: Path

    @property
    def folder(self) -> Path:
        """Its clip folder."""
        return self.source if self.kind == "clip" else self.output / "clips" / self.name

    @property
    def avatar(self) -> Path:
        return self.output / f"{self.name}.avatar.npz"

    @property
    def record(self) -> Path:
        """What was made from what (record.py)."""
        return self.output / "batch" / f"{self.name}.json"

    @property
    def log(self) -> Path:
        return self.output / "batch" / f"{self.name}.log"

    @property
    def lock(self) -> Path:
        return self.output / "batch" / f"{self.name}.lock"

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "source": str(self.source), "kind": self.kind, "output": str(self.output)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Unit:
        return cls(data["name"], Path(data["source"]), data["kind"], Path(data["output"]))


def find_clips(sources: Iterable[Path], output: Path) -> tuple[list[Unit], list[str]]:
    """The clips that ``sources`` (folders of clips, or single ones) hold, by name, and sentences on what was passed
    over. Raises InputError where there is none, and where two would become the same avatar."""
    output = _absolute(output)
    own = {output, output / "clips", output / "batch"}
    found: list[Unit] = []
    passed: list[Path] = []
    for source in sources:
        source = _absolute(source)
        if kind := kind_of(source, own):
            found.append(Unit(_name(source, kind, output), source, kind, output))
            continue
        if not source.is_dir():
            wrong = "is neither a folder of clips nor a video" if source.exists() else "does not exist"
            raise InputError(f"{source} {wrong}; name the folder that holds the clips.")
        for entry in sorted(_visible(source), key=_order):
            if entry in own:
                continue
            if kind := kind_of(entry, own):
                found.append(Unit(_name(entry, kind, output), entry, kind, output))
            elif not _ours(entry, output):
                passed.append(entry)
    units, notes = _without_imported(found)
    _check_names(units)
    if passed:
        named = ", ".join(path.name for path in passed[:5]) + (f" and {len(passed) - 5} more" if passed[5:] else "")
        notes.append(f"Passed over, being no video, pictures or clip: {named}.")
    if not units:
        where = ", ".join(map(str, sources))
        raise InputError(f"{where} holds no clip: videos, folders of pictures, or clip folders are looked for.")
    return sorted(units, key=lambda unit: _order(Path(unit.name))), notes


def kind_of(path: Path, own: Collection[Path] = ()) -> Kind | None:
    """What ``path`` is to a batch; None: nothing. A folder that holds videos, or other folders than the batch's
    ``own``, beside pictures is no clip."""
    if path.is_file():
        return "video" if path.suffix.lower() in VIDEO_SUFFIXES else None
    if not path.is_dir():
        return None
    if (path / "clip.json").is_file() or (path / "live-journal").is_dir():
        return "clip"
    from blendsplat.video.images import IMAGE_SUFFIXES

    try:
        entries = [entry for entry in _visible(path) if entry not in own]
    except InputError:  # not ours to read
        return None
    pictures = any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in entries)
    others = any(entry.is_dir() or entry.suffix.lower() in VIDEO_SUFFIXES for entry in entries)
    return "pictures" if pictures and not others else None


def part_of(units: list[Unit], part: int, parts: int) -> list[Unit]:
    """The ``part``-th (from 1) of ``parts`` shares, of which all together are ``units``. Raises InputError."""
    if not 1 <= part <= parts:
        raise InputError(f"The part {part}/{parts} does not exist; parts count from 1/{parts} to {parts}/{parts}.")
    return units[part - 1 :: parts]


def _visible(folder: Path) -> list[Path]:
    """Raises InputError."""
    try:
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read: {error.strerror}.", repr(error)) from error


def _absolute(path: Path) -> Path:
    """With links as they are: a clip is called what its link is called."""
    return Path(os.path.abspath(path.expanduser()))


def _name(path: Path, kind: Kind, output: Path) -> str:
    """What the avatar and all that is kept of it are called: as in an earlier batch, where there was one."""
    return name_in(output / "batch", path.stem if kind == "video" else path.name, ".json")


def _order(path: Path) -> list[tuple[int, int, str]]:
    from blendsplat.video.images import natural_key

    return natural_key(path.name)


def _ours(path: Path, output: Path) -> bool:
    """What an earlier batch left, where avatars are made beside the clips."""
    return path.parent == output and path.name.endswith((".avatar.npz", ".safetensors"))


def _without_imported(units: list[Unit]) -> tuple[list[Unit], list[str]]:
    """Where a video and a clip folder that was imported from it lie side by side, the clip folder."""
    imported = {source: unit for unit in units if unit.kind == "clip" and (source := imported_from(unit.source))}
    kept = [unit for unit in units if unit.kind == "clip" or unit.source.resolve() not in imported]
    notes = [
        f"{unit.source.name} was imported into {imported[unit.source.resolve()].source.name} before, which is used."
        for unit in units if unit not in kept
    ]  # fmt: skip
    return kept, notes


def imported_from(folder: Path) -> Path | None:
    """The video that a clip folder says it was made of, behind all links."""
    try:
        return Path(read_json(folder / "clip.json")["source"])
    except (FormatError, OSError, ValueError, KeyError, TypeError):
        return None


def _check_names(units: list[Unit]) -> None:
    names: dict[str, Unit] = {}
    for unit in units:
        other = names.setdefault(folded(unit.name), unit)
        if other is not unit:
            raise InputError(
                f"{other.source} and {unit.source} would both become {unit.avatar.name}: rename one of them."
            )
