# SPDX-License-Identifier: GPL-3.0-or-later
"""Avatars together with what else the scene holds: one button puts EEVEE's or Cycles' picture behind them."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty

from ...scene import surroundings
from . import avatar, common

EEVEE = "BLENDER_EEVEE_NEXT" if bpy.app.version < (5, 0) else "BLENDER_EEVEE"


class AddSurroundings(common.Grey, bpy.types.Operator):
    """Render everything else with EEVEE or Cycles behind the avatars, in the same render: other objects hide avatars
    and are hidden by them, and the head casts its shadows. Makes a second scene of the same objects, which follows this
    one, and two nodes in the compositor; your own nodes stay"""

    bl_idname = "blendsplat.add_surroundings"
    bl_label = "Render Everything Else Behind"
    bl_options = {"REGISTER", "UNDO"}

    engine: EnumProperty(
        name="Engine",
        description="What draws everything but the avatars",
        items=[
            ("EEVEE", "EEVEE", "Fast; needs a graphics card, so not for renders on most farms"),
            ("CYCLES", "Cycles", "Slower and truer; renders everywhere"),
        ],
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if not any(item.blendsplat.kind == "AVATAR" for item in context.scene.objects):
            return "The scene has no avatar: add one first."
        if any(surroundings.of(scene) == context.scene for scene in bpy.data.scenes):
            return "This scene is what stands behind another one's avatars: go to that scene."
        return ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        avatar.use_render_engine(context.scene)
        behind = surroundings.add(context.scene, EEVEE if self.engine == "EEVEE" else "CYCLES")
        self.report({"INFO"}, f"Everything else is rendered as {behind.name!r}, behind the avatars.")
        return {"FINISHED"}


class RemoveSurroundings(common.Grey, bpy.types.Operator):
    """Render avatars alone again: the second scene and its two nodes go, objects and your own nodes stay"""

    bl_idname = "blendsplat.remove_surroundings"
    bl_label = "Render Avatars Alone"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if surroundings.of(context.scene) is not None else "Nothing is rendered behind this scene's avatars."

    def execute(self, context: bpy.types.Context) -> set[str]:
        surroundings.remove(context.scene)
        return {"FINISHED"}


CLASSES = (AddSurroundings, RemoveSurroundings)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
