# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds again what was moved: videos, clips, avatars, fitted photographs under a folder, by their names and by what
their files say of themselves.

``lost`` and ``point`` look at Blender's data and belong to its main thread; ``Index`` and ``find`` only read files, so
they may take their time in another.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from .. import formats, paths
from . import carrier_mesh, fit_scene, packed_avatar, saved_paths

_MADE_LATER = ("directory", "output", "takes", "take")  # may be chosen before they are there
_MARKS = ("clip.json", "fit.json", "tracking.npz")  # what makes a folder one of ours
_MOST = 200_000  # entries that are looked at: a whole disk is no project


@dataclass(frozen=True)
class Lost:
    """A path of the file that leads nowhere. gaussians: of the avatar that it belongs to, 0 where it is no avatar's."""

    path: Path
    folder: bool
    gaussians: int = 0


@dataclass
class Index:
    """What lies under a folder: files and our folders by name, avatars by what they hold."""

    files: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    folders: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    avatars: list[Path] = field(default_factory=list)
    complete: bool = True

    @classmethod
    def of(cls, root: Path, stop: Callable[[], bool] = lambda: False) -> Index:
        """Look through a folder and all below it, but for hidden ones."""
        index, count = cls(), 0
        for place, below, names in os.walk(root):
            below[:] = sorted(name for name in below if not name.startswith("."))
            count += len(names) + 1
            if count > _MOST or stop():
                index.complete = False
                break
            folder = Path(place)
            if any(mark in names for mark in _MARKS):
                index.folders[folder.name.lower()].append(folder)
            for name in names:
                index.files[name.lower()].append(folder / name)
                if name.lower().endswith(".avatar.npz"):
                    index.avatars.append(folder / name)
        return index


def lost(*, all_of_them: bool = True) -> list[Lost]:
    """The paths of this .blend that lead nowhere; without ``all_of_them`` not those that a step is yet to make."""
    found: dict[Path, Lost] = {}
    for owner, name in saved_paths.path_properties():
        path = _place(getattr(owner, name))
        if path is None or path.exists() or (name in _MADE_LATER and not all_of_them):
            continue
        item = owner.id_data
        if name == "avatar_path" and packed_avatar.is_packed(item):
            continue
        count = _gaussians(item) if name == "avatar_path" else 0
        found[path] = Lost(path, owner.bl_rna.properties[name].subtype == "DIR_PATH", count)
    return sorted(found.values(), key=lambda one: len(one.path.parts))


def find(wanted: list[Lost], index: Index) -> tuple[dict[Path, Path], list[str]]:
    """(where each lost path lies now, sentences on those that could not be told apart). What lies in a folder that was
    found is taken to have moved with it."""
    moved: dict[Path, Path] = {}
    sentences = []
    for one in wanted:
        along = _along(one.path, moved)
        if along is not None and along.exists():
            moved[one.path] = along
            continue
        best = _best(one, index)
        if len(best) == 1:
            moved[one.path] = best[0]
        elif best:
            sentences.append(
                f"{one.path.name} is there {len(best)} times, e.g. {best[0]} and {best[1]}: choose by hand."
            )
    return moved, sentences


def point(moved: dict[Path, Path]) -> int:
    """Let the .blend's paths lead to where things lie now, relative where the artist saves so -> how many changed."""
    count = 0

    def now(text: str) -> str:
        path = _place(text)
        new = _along(path, moved) if path is not None and not path.exists() else None
        return paths.kept(new) if new is not None and new.exists() else text

    for owner, name in saved_paths.path_properties():
        before = getattr(owner, name)
        after = now(before)
        if after != before:
            setattr(owner, name, after)
            count += 1
    for item in bpy.data.objects:
        if item.library is None and fit_scene.is_fitted(item):
            fit_scene.move_folders(item, now)
    for image in bpy.data.images:
        if image.library is None and image.source in ("FILE", "SEQUENCE") and image.filepath:
            after = now(image.filepath)
            if after != image.filepath:
                image.filepath = after
                image.reload()
                count += 1
    return count


def _place(text: str) -> Path | None:
    """A path property as an absolute path without detours (//../), so that what lies in one folder begins alike."""
    path = paths.absolute(text)
    return Path(os.path.normpath(path)) if path is not None else None


def _along(path: Path, moved: dict[Path, Path]) -> Path | None:
    """Where a path lies when it moved together with one that was found."""
    for old in (path, *path.parents):
        if old in moved:
            return moved[old] / path.relative_to(old)
    return None


def _best(one: Lost, index: Index) -> list[Path]:
    """The candidates that fit best: of this name, with as much of the path before it as possible; an avatar under any
    name, where only one holds what the scene's avatar is made of."""
    by_name = (index.folders if one.folder else index.files).get(one.path.name.lower(), [])
    fitting = [path for path in by_name if _is_what_it_was(path, one)]
    if fitting:
        agree = [_common_end(path, one.path) for path in fitting]
        return [path for path, count in zip(fitting, agree, strict=True) if count == max(agree)]
    if one.gaussians:
        return [path for path in index.avatars if _is_what_it_was(path, one)]
    return []


def _is_what_it_was(path: Path, one: Lost) -> bool:
    """What the candidate says of itself goes with what is looked for."""
    name = path.name.lower()
    try:
        if name.endswith(".avatar.npz"):
            header = formats.read_header(path)
            return not one.gaussians or header.get("gaussians") == one.gaussians
        if name == "tracking.npz":
            formats.read_header(path, formats.TRACKING, formats.TRACKING_VERSION)
        elif one.folder and (path / "clip.json").is_file():
            return isinstance(_json(path / "clip.json"), dict)
        elif one.folder and (path / "fit.json").is_file():
            return str(_json(path / "fit.json").get("format")) == formats.FIT
    except (formats.FileError, OSError, ValueError, AttributeError):
        return False
    return True


def _json(path: Path) -> Any:
    return formats.read_json(path)


def _common_end(first: Path, second: Path) -> int:
    """How many parts two paths have in common at their ends."""
    count = 0
    for a, b in zip(reversed(first.parts), reversed(second.parts), strict=False):
        if a.lower() != b.lower():
            break
        count += 1
    return count


def _gaussians(item: bpy.types.ID) -> int:
    """How many Gaussians an avatar's object has; 0 for others."""
    is_mesh = isinstance(getattr(item, "data", None), bpy.types.Mesh)
    return carrier_mesh.count_of(item.data) if is_mesh and item.blendsplat.kind == "AVATAR" else 0
