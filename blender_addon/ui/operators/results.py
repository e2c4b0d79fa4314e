# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a finished step meets the artist's work: its result is added without touching what is in hand, or offered.

Replacing a mesh that is being edited would delete it, and building an armature needs Object Mode. So while the artist
is in another mode a result waits here, and the panel shows a button for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ...client import pump, session
from ...formats import FileError
from . import common

# Adds a result to the context's scene; returns a sentence on what of it could not be added. Holds no Blender data.
Build = Callable[[bpy.types.Context], str | None]


@dataclass(eq=False)
class Offer:
    """A result that waits to be added. Holds no Blender data, only names: the file may be closed and opened again."""

    kind: str  # of the job
    title: str  # what adding it does, as on a button
    source: Path  # the file or folder that it comes from
    place: common.Place
    build: Build


_offers: list[Offer] = []


def bring(scene: bpy.types.Scene, kind: str, title: str, source: Path, build: Build) -> None:
    """Add a finished job's result to the scene as one undo step called ``title``; while the artist is in another mode,
    offer it. Mode, active object and selection stay.

    Raises FileError with the sentence of ``build``, and what that raises.
    """
    hindrance, sentences = busy(scene), []
    if not hindrance:
        common.in_scene(scene, lambda context: sentences.append(_add(context, build)), title)
        if sentences[0]:
            raise FileError(sentences[0])
        return
    hold(common.Place.of(scene), kind, title, source, build)
    if pump.synchronous():  # a script sees no panel
        print(f"{title} waits: {hindrance}", flush=True)


def hold(place: common.Place, kind: str, title: str, source: Path, build: Build) -> None:
    """Let a result wait for its scene, whose file may be closed; an older one from the same source is forgotten."""
    scene = place.find()
    for offer in list(_offers):
        here = offer.place == place or (scene is not None and offer.place.find() == scene)
        if here and (offer.kind, offer.source) == (kind, source):
            _offers.remove(offer)
    _offers.append(Offer(kind, title, source, place, build))


def offers(scene: bpy.types.Scene, kind: str) -> list[Offer]:
    """The results of jobs of this kind that wait for this scene, the oldest first."""
    return [offer for offer in _offers if offer.kind == kind and offer.place.find() == scene]


def busy(scene: bpy.types.Scene) -> str:
    """Why nothing can be added to this scene now, or "": the artist is in another mode than Object Mode."""
    actives = [layer.objects.active for layer in scene.view_layers]
    edited = [item for item in scene.objects if item.mode == "EDIT"]  # may be another than the active one
    for item in (*actives, *edited):
        if item is not None and item.mode != "OBJECT":
            mode = item.bl_rna.properties["mode"].enum_items[item.mode].name
            return f"{item.name} is in {mode}: go back to Object Mode first."
    return ""


def _add(context: bpy.types.Context, build: Build) -> str | None:
    """Build, and leave active object and selection as they are."""
    layer = context.view_layer
    selected = {item.session_uid for item in layer.objects if item.select_get(view_layer=layer)}
    active = layer.objects.active.session_uid if layer.objects.active is not None else None
    try:
        return build(context)
    finally:
        layer.update()  # before, removed objects are still in the list, as None
        for item in list(layer.objects):
            item.select_set(item.session_uid in selected, view_layer=layer)
        layer.objects.active = next((item for item in layer.objects if item.session_uid == active), None)


class AddResult(common.Grey, bpy.types.Operator):
    """Bring what was finished while you were in another mode into the scene. What you have selected stays selected"""

    bl_idname = "blendsplat.add_result"
    bl_label = "Add the New Result"
    bl_options = {"UNDO"}
    kind: StringProperty(
        name="Kind", options={"SKIP_SAVE", "HIDDEN"}, description="The kind of job whose results are added"
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return busy(context.scene)

    def execute(self, context: bpy.types.Context) -> set[str]:
        waiting = offers(context.scene, self.kind)
        for offer in waiting:
            _offers.remove(offer)
            session.Errand().finish(lambda build=offer.build: self._add(context, build), self._failed)
        return {"FINISHED"} if waiting else {"CANCELLED"}

    def _add(self, context: bpy.types.Context, build: Build) -> None:
        if sentence := _add(context, build):
            self._failed(sentence)

    def _failed(self, sentence: str) -> None:
        self.report({"ERROR"}, sentence)


def register() -> None:
    bpy.utils.register_class(AddResult)


def unregister() -> None:
    bpy.utils.unregister_class(AddResult)
    _offers.clear()
