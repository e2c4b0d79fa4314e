# SPDX-License-Identifier: GPL-3.0-or-later
"""Several avatars: selecting one of them, duplicating one, and animating one that is linked from another file."""

from __future__ import annotations

import bpy
from bpy.props import FloatProperty, StringProperty

from ...scene import avatar_repair, duplicate_avatar, linked
from . import avatar, common, results


class SelectAvatar(common.Grey, bpy.types.Operator):
    """Select this avatar: the panels are about it then"""

    bl_idname = "blendsplat.select_avatar"
    bl_label = "Select Avatar"
    bl_options = {"REGISTER", "UNDO"}
    name: StringProperty(name="Avatar", options={"SKIP_SAVE"}, description="The name of the avatar's object")

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return _none(context) or results.busy(context.scene)

    def execute(self, context: bpy.types.Context) -> set[str]:
        found = next((item for item in avatar.avatars(context.scene) if item.name == self.name), None)
        if found is None:
            self.report({"ERROR"}, f"There is no avatar {self.name!r} in this scene.")
            return {"CANCELLED"}
        if found.name not in context.view_layer.objects:
            self.report({"ERROR"}, f"{found.name} is in a collection that this view layer excludes.")
            return {"CANCELLED"}
        for item in context.view_layer.objects:
            item.select_set(False)
        context.view_layer.objects.active = found
        found.select_set(True)  # does nothing while it is hidden; active it is all the same
        return {"FINISHED"}


class DuplicateAvatar(common.Grey, bpy.types.Operator):
    """Put a second avatar of the same person beside this one, with a head, bones and keyframes of its own. It shares
    the avatar's file and materials; Alt D instead makes one that always shows the same face"""

    bl_idname = "blendsplat.duplicate_avatar"
    bl_label = "Duplicate Avatar"
    bl_options = {"REGISTER", "UNDO"}
    beside: FloatProperty(
        name="Beside", default=0.4, soft_min=-2.0, soft_max=2.0, subtype="DISTANCE", unit="LENGTH",
        description="How far to the right of the first one it stands",
    )  # fmt: skip

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        if carrier is None:
            return common.NO_AVATAR
        if sentence := linked.sentence(carrier) or avatar_repair.sentence(carrier):
            return sentence
        if carrier.override_library is not None:
            return f"{carrier.name} is a library override: link its collection once more, and override that."
        if carrier.data.shape_keys is None:
            return f"{carrier.name} has no sliders: duplicate it with Shift D."
        return results.busy(context.scene)

    def execute(self, context: bpy.types.Context) -> set[str]:
        made = duplicate_avatar.duplicate(context, avatar.selected_avatar(context), self.beside)
        for item in context.view_layer.objects:
            item.select_set(False)
        context.view_layer.objects.active = made
        made.select_set(True)
        self.report({"INFO"}, f"{made.name} has a head and keyframes of its own.")
        return {"FINISHED"}


class OverrideAvatar(common.Grey, bpy.types.Operator):
    """Make a linked avatar yours to animate in this file (a library override): sliders, bones and settings are this
    file's, everything else follows the file that it is linked from"""

    bl_idname = "blendsplat.override_avatar"
    bl_label = "Make Library Override"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if linked.linked_collection(_active(context)) is not None:
            return results.busy(context.scene)
        carrier = avatar.selected_avatar(context)
        if carrier is None:
            return "Link a collection with an avatar first (File > Link)."
        if not linked.sentence(carrier):
            return f"{carrier.name} is not linked, or it is overridden already: it can be animated."
        return results.busy(context.scene)

    def execute(self, context: bpy.types.Context) -> set[str]:
        item = _active(context)
        if linked.linked_collection(item) is None:
            item = avatar.selected_avatar(context)
        made = linked.override(context, item)
        if made is None:
            return self.failed(
                context, f"Blender makes no library override of {item.name}: append it instead of linking."
            )
        if sentence := linked.sentence(made):
            return self.failed(context, sentence)
        context.view_layer.objects.active = made
        return self.solved(context)


def _active(context: bpy.types.Context) -> bpy.types.Object | None:
    return context.view_layer.objects.active if context.view_layer is not None else None


def _none(context: bpy.types.Context) -> str:
    return "" if avatar.avatars(context.scene) else "Add an avatar first."


CLASSES = (SelectAvatar, DuplicateAvatar, OverrideAvatar)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
