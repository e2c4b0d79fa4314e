# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy and paste a face, also mirrored, also into another file or onto another head: it travels as text."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty

from ...scene import face_owners, face_pose, sides
from . import face_posing

_kept = ""  # a Blender without a window has no clipboard


def write_clipboard(text: str) -> None:
    """Put a text into the clipboard."""
    global _kept
    _kept = bpy.context.window_manager.clipboard = text


def read_clipboard() -> str:
    """The text in the clipboard."""
    return _kept if bpy.app.background else bpy.context.window_manager.clipboard


class CopyFace(face_posing.PosesFace, bpy.types.Operator):
    """Copy what the face does now: all sliders, the jaw, the gaze. It can be pasted in another frame, on another head,
    or in another file"""

    bl_idname = "blendsplat.copy_face"
    bl_label = "Copy Face"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head, _ = face_posing.meant(context)
        return "" if head is not None and face_owners.has_face(head) else face_owners.why_not(head)

    def execute(self, context: bpy.types.Context) -> set[str]:
        head, _ = face_posing.meant(context)
        write_clipboard(face_pose.read(head).to_text())
        self.report({"INFO"}, f"The face of {head.name} is in the clipboard.")
        return self.solved(context)


class PasteFace(face_posing.PosesFace, bpy.types.Operator):
    """Give the head the face in the clipboard. Blend, in the panel that appears below, goes only a part of the way"""

    bl_idname = "blendsplat.paste_face"
    bl_label = "Paste Face"
    bl_options = {"REGISTER", "UNDO"}

    mirrored: BoolProperty(
        name="Mirrored", options={"SKIP_SAVE"}, description="Exchange left and right: a left wink becomes a right one"
    )
    strength: face_posing.STRENGTH
    key: face_posing.KEY

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            pose = face_pose.FacePose.from_text(read_clipboard())
        except face_pose.PoseError as error:
            return self.failed(context, str(error))
        if self.mirrored:
            if pose.sliders and not sides.have_sides(pose.sliders):
                return self.failed(context, NO_SIDES)
            pose = pose.mirrored()
        return face_posing.put(self, context, pose, self.strength, self.key)


NO_SIDES = (
    "The sliders of this head are only numbered and tell nothing of left and right, so they cannot be mirrored: use a "
    "head with ARKit's names (Blendsplat's own)."
)
register, unregister = bpy.utils.register_classes_factory((CopyFace, PasteFace))
