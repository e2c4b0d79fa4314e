# SPDX-License-Identifier: GPL-3.0-or-later
"""The learned keys: what each does, as names and pictures from the engine; solo; and their pictures large."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import IntProperty

from ...client import jobs, session
from ...scene import avatar_rig, key_preview, learned_keys, networks
from . import avatar, common, editors


class PreviewKeys(common.JobOperator, bpy.types.Operator):
    """Find out what each learned key does: name it by the part of the face it moves and by how much, and draw it. Keys
    that you named yourself keep their names. It runs beside a training and takes seconds"""

    bl_idname = "blendsplat.preview_keys"
    bl_label = "Name and Draw Keys"
    kind = "keys"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        if carrier is None:
            return common.NO_AVATAR
        if not avatar_rig.blendshape_keys(carrier):
            return f"{carrier.name} has no learned keys."
        path = networks.file_of(carrier)
        if not session.remote() and (path is None or not path.is_file()):
            return f"The file of {carrier.name} is not where the scene says: choose it again with Add Avatar."
        return common.cannot_start(cls.kind)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        carrier = avatar.selected_avatar(context)
        path, folder = networks.file_of(carrier), key_preview.folder_of(carrier)
        assert path is not None and folder is not None  # it is grey else
        return {
            "avatar": session.engine_path(path), "output": session.engine_path(folder), "device": session.device(),
        }  # fmt: skip

    def notes(self, context: bpy.types.Context) -> dict[str, Any]:
        carrier = avatar.selected_avatar(context)
        return {**super().notes(context), "carrier": carrier.name, "uid": carrier.session_uid}


class SoloKey(common.Grey, bpy.types.Operator):
    """See this learned key alone: the others are muted until you press it again, and then as they were before"""

    bl_idname = "blendsplat.solo_key"
    bl_label = "Solo"
    bl_options = {"REGISTER", "UNDO"}
    index: IntProperty(
        name="Key", min=0, options={"SKIP_SAVE", "HIDDEN"}, description="The learned key's place in the network's order"
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        if carrier is None:
            return common.NO_AVATAR
        return "" if avatar_rig.blendshape_keys(carrier) else f"{carrier.name} has no learned keys."

    def execute(self, context: bpy.types.Context) -> set[str]:
        carrier = avatar.selected_avatar(context)
        if self.index not in learned_keys.found(carrier):
            return self.failed(context, f"{carrier.name} has no learned key {self.index + 1}.")
        key_preview.solo(carrier, self.index)
        return self.solved(context)


class ShowKeys(common.Grey, bpy.types.Operator):
    """Show all learned keys in an image editor: each at -2, 0 and +2 deviations of what the clip showed"""

    bl_idname = "blendsplat.show_keys"
    bl_label = "Show All Keys"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        if carrier is None:
            return common.NO_AVATAR
        return "" if key_preview.sheet_of(carrier) else "Name and draw the keys first."

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = key_preview.sheet_of(avatar.selected_avatar(context))
        if path is None:
            return self.failed(context, "The picture is gone: draw the keys again.")
        image = bpy.data.images.load(str(path), check_existing=True)
        image.reload()
        area = editors.editor(context, "IMAGE_EDITOR")
        if area is not None:
            area.spaces.active.image = image
        return self.solved(context)


def _finished(job: jobs.Job) -> None:
    """The keys are told: their names, where the artist has not given others."""
    place = job.context.get("place")
    scene = place.find() if place is not None else None
    if scene is None or not isinstance(job.result, dict):
        return
    carrier = next((item for item in scene.objects if item.session_uid == job.context.get("uid")), None)
    carrier = carrier or scene.objects.get(job.context.get("carrier", ""))
    if carrier is not None and carrier.blendsplat.kind == "AVATAR" and carrier.data.shape_keys is not None:
        rows = job.result.get("keys") or []
        common.in_scene(scene, lambda _context: key_preview.rename(carrier, rows), "Name Learned Keys")


_CLASSES = (PreviewKeys, SoloKey, ShowKeys)


def register() -> None:
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    jobs.on_finished(PreviewKeys.kind, _finished)


def unregister() -> None:
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
