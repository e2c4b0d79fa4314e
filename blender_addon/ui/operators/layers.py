# SPDX-License-Identifier: GPL-3.0-or-later
"""Performances as strips, and layers of corrections above them."""

from __future__ import annotations

from pathlib import PurePath

import bpy
from bpy.props import StringProperty

from ...paths import absolute
from ...scene import avatar_rig, face_owners, layers
from . import common, face_posing
from .head_keys import ChangesKeys


class AsStrip(ChangesKeys, bpy.types.Operator):
    """Turn what the head and its avatar play into strips of the NLA, on tracks named after the performance. The next
    performance can then be applied beside it, and strips be moved, blended and muted"""

    bl_idname = "blendsplat.as_strip"
    bl_label = "As NLA Strip"
    bl_options = {"REGISTER", "UNDO"}

    name: StringProperty(
        name="Name", options={"SKIP_SAVE"}, description="What the strip is called. Empty: as the performance"
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        head, carrier = face_posing.meant(context)
        name = self.name.strip() or performance_name(head)
        made = layers.as_strips(face_owners.owners(head, carrier), name)
        if not made:
            self.report({"INFO"}, "There was nothing to make a strip of: no action has a curve.")
            return self.solved(context)
        self.report({"INFO"}, f"{name}: {made} strips. They are in the NLA Editor.")
        return self.solved(context)


class AddLayer(common.Grey, bpy.types.Operator):
    """Begin a layer for corrections by hand: what plays now becomes strips, and what you key from now on is added to
    it. The performance itself stays as it is"""

    bl_idname = "blendsplat.add_layer"
    bl_label = "Add Layer"
    bl_options = {"REGISTER", "UNDO"}

    name: StringProperty(name="Name", default="Corrections", description="What the layer is called")

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return face_owners.why_no_keys(*face_posing.meant(context))

    def execute(self, context: bpy.types.Context) -> set[str]:
        head, carrier = face_posing.meant(context)
        follows = carrier is not None and avatar_rig.can_follow(carrier)
        name = layers.add_layer(
            face_owners.owners(head), performance_name(head), self.name.strip() or "Corrections"
        )  # fmt: skip
        if follows and not carrier.blendsplat.live and carrier.data.shape_keys.is_editable:
            carrier.blendsplat.live = True
            self.report({"INFO"}, f"{name}: key sliders and bones. Live is on, so that the avatar follows them.")
        else:
            self.report({"INFO"}, f"{name}: key sliders and bones, they are added to what plays.")
        return self.solved(context)


def performance_name(head: bpy.types.Object) -> str:
    """What the head's performance is called: its clip's folder, else the action."""
    folder = absolute(head.blendsplat.clip_path, head.library)
    if folder is not None and folder.name:
        return PurePath(folder.name).name.removesuffix(" avatar")
    data = head.data.shape_keys.animation_data
    return data.action.name if data is not None and data.action is not None else f"{head.name} performance"


register, unregister = bpy.utils.register_classes_factory((AsStrip, AddLayer))
