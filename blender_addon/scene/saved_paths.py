# SPDX-License-Identifier: GPL-3.0-or-later
"""Our path properties when a .blend is saved: what Blender does for its own paths it does not do for an add-on's.

The first time a file is saved, paths that were absolute until then become relative to it; saved into another folder,
relative ones are made relative to that. After a copy was saved, or when saving failed, they are what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import bpy

from .. import paths
from . import fit_scene, handlers

_undo: list[Callable[[], None]] = []  # filled while a file is saved
_saving: Path | None = None


@bpy.app.handlers.persistent
def on_save(filepath: str = "", *_args: object) -> None:
    """save_pre."""
    global _saving
    on_failed()
    _saving = Path(filepath) if filepath else None
    if _saving is None or (bpy.data.filepath and paths.same(Path(bpy.data.filepath).parent, _saving.parent)):
        return
    folder = _saving.parent

    def moved(text: str) -> str:
        if text.startswith("//"):
            return paths.relative(Path(bpy.path.abspath(text)), folder)
        path = paths.absolute(text)
        return text if path is None or bpy.data.filepath or not path.is_absolute() else paths.kept(path, folder)

    for owner, name in path_properties():
        before = getattr(owner, name)
        after = moved(before)
        if after != before:
            setattr(owner, name, after)
            _undo.append(lambda owner=owner, name=name, before=before: setattr(owner, name, before))
    for item in bpy.data.objects:
        if item.library is None and fit_scene.is_fitted(item):
            _undo.append(fit_scene.move_folders(item, moved))


@bpy.app.handlers.persistent
def on_saved(*_args: object) -> None:
    """save_post: the file that is open is another one than was written when a copy was saved."""
    if _saving is not None and not paths.same(Path(bpy.data.filepath or "/"), _saving):
        on_failed()
    _undo.clear()


@bpy.app.handlers.persistent
def on_failed(*_args: object) -> None:
    """save_post_fail."""
    for undo in _undo:
        undo()
    _undo.clear()


def path_properties() -> Iterator[tuple[bpy.types.PropertyGroup, str]]:
    """Our path properties in this .blend: (what has it, its name); not those of linked data."""
    for data in (*bpy.data.scenes, *bpy.data.objects):
        if data.library is None:
            yield from (found for found in _paths_in(data.blendsplat) if not _inherited(data, *found))


def _inherited(data: bpy.types.ID, group: bpy.types.PropertyGroup, name: str) -> bool:
    """It is a library override's, and the path is as the other file has it."""
    return isinstance(data, bpy.types.Object) and group == data.blendsplat and paths.home_of(data, name) is not None


def _paths_in(group: bpy.types.PropertyGroup) -> Iterator[tuple[bpy.types.PropertyGroup, str]]:
    for prop in group.bl_rna.properties:
        if prop.identifier == "rna_type":  # of the group's own Python type, and no group
            continue
        if prop.type == "STRING" and prop.subtype in ("FILE_PATH", "DIR_PATH"):
            yield group, prop.identifier
        elif prop.type == "POINTER" and isinstance(value := getattr(group, prop.identifier), bpy.types.PropertyGroup):
            yield from _paths_in(value)
        elif prop.type == "COLLECTION":
            for item in getattr(group, prop.identifier):
                yield from _paths_in(item)


_HANDLERS = (("save_pre", on_save), ("save_post", on_saved), ("save_post_fail", on_failed))


def register() -> None:
    handlers.add(_HANDLERS)


def unregister() -> None:
    handlers.remove(_HANDLERS)
