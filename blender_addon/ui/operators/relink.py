# SPDX-License-Identifier: GPL-3.0-or-later
"""Moved clips, avatars and photographs are found under a folder that the artist points at, while Blender goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ...client import pump
from ...scene import relink
from . import common

_TOLD = 60.0  # seconds for which a success is told
_PATIENCE = 2.0  # seconds for which it is not asked again what is missing
_missing: tuple[float, str, list[relink.Lost]] = (0.0, "", [])


class Search(threading.Thread):
    """Looks through a folder for lost paths."""

    def __init__(self, wanted: list[relink.Lost], root: Path, place: common.Place) -> None:
        super().__init__(name="blendsplat-relink", daemon=True)
        self.wanted, self.root, self.place = wanted, root, place
        self.moved: dict[Path, Path] = {}
        self.sentences: list[str] = []
        self.stopped = False

    def run(self) -> None:
        index = relink.Index.of(self.root, lambda: self.stopped)
        self.moved, self.sentences = relink.find(self.wanted, index)
        if not index.complete:
            self.sentences.append(f"{self.root} holds too much to look through all of it: point at a smaller folder.")


_search: Search | None = None
_outcome: tuple[common.Place, list[str], float] | None = None


def missing() -> list[relink.Lost]:
    """What of this file is missing; panels ask this all the time, so the disk is asked now and then only."""
    global _missing
    at, blend, found = _missing
    if time.monotonic() - at > _PATIENCE or blend != bpy.data.filepath:
        found = relink.lost(all_of_them=False)
        _missing = (time.monotonic(), bpy.data.filepath, found)
    return found


def searching() -> bool:
    return _search is not None


def outcome(scene: bpy.types.Scene) -> list[str]:
    """What came of the last search of this scene's file, a sentence each; not for long once all was found."""
    if _outcome is None or _outcome[0].find() != scene:
        return []
    return _outcome[1] if missing() or time.monotonic() - _outcome[2] < _TOLD else []


class Relink(common.Grey, bpy.types.Operator):
    """Find moved videos, clips, avatars and photographs of this file: point at a folder that they lie in or below"""

    bl_idname = "blendsplat.relink"
    bl_label = "Relink Moved Files"
    bl_options = {"REGISTER", "UNDO"}
    directory: StringProperty(
        name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE"}, description="The folder to look in, and below it"
    )
    filter_folder: BoolProperty(default=True, options={"SKIP_SAVE", "HIDDEN"})
    wait: common.WAIT

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if searching():
            return "The search is running."
        return "" if relink.lost() else "Nothing is missing: all files are where this .blend looks for them."

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        if bpy.data.filepath:
            self.directory = str(Path(bpy.data.filepath).parent)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        global _search
        root = common.path_of(self.directory)
        if root is None or not root.is_dir():
            self.report({"ERROR"}, f"There is no folder {root}." if root is not None else "Choose a folder.")
            return {"CANCELLED"}
        search = Search(relink.lost(), root, common.Place.of(context.scene))
        if self.wait or pump.synchronous():
            search.run()
            sentences = _apply(search)
            self.report({"INFO"}, " ".join(sentences))
            return {"FINISHED"} if search.moved else {"CANCELLED"}
        _search = search
        search.start()
        pump.wake()
        return {"FINISHED"}


def _apply(search: Search) -> list[str]:
    """Let the file's paths lead to what was found -> what is to be said."""
    global _missing, _outcome
    count = relink.point(search.moved)
    _missing = (0.0, "", [])
    left = [one.path.name for one in search.wanted if one.path not in search.moved]
    sentences = [f"Found {len(search.moved)} of {len(search.wanted)} missing files."]
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        sentences.append(f"Not found in {search.root}: {', '.join(left[:3])}{more}.")
    sentences += search.sentences
    _outcome = (search.place, sentences, time.monotonic())
    if count and not pump.synchronous():
        bpy.ops.ed.undo_push(message="Relink Moved Files")
    return sentences


def _step(_end: float) -> float | None:
    """Take in what a search has found."""
    global _search
    if _search is None:
        return None
    if _search.is_alive():
        return pump.SOON
    search, _search = _search, None
    if search.place.find() is not None:
        _apply(search)
    return None


def _shown() -> object:
    """What the panel shows of it."""
    return searching(), _outcome and _outcome[1]


def register() -> None:
    bpy.utils.register_class(Relink)
    pump.add_step(_step)
    pump.shows(_shown)


def unregister() -> None:
    global _search, _outcome
    if _search is not None:
        _search.stopped = True
    _search = _outcome = None
    bpy.utils.unregister_class(Relink)
