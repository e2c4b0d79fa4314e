# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake Live: what Live shows in a range of frames becomes keyframes, which play without the extension."""

from __future__ import annotations

import bpy

from ...scene import avatar_rig, linked, timeline_heads
from ...scene.weight_network import HeadState
from . import avatar, common
from .reading_frames import ReadsFrames


class BakeLive(ReadsFrames, common.Grey, bpy.types.Operator):
    """Write what Live shows in a range of frames as keyframes of the blendshapes, and switch Live off: poses and
    sliders that you keyed by hand then play anywhere, without this extension. Esc gives up and changes nothing"""

    bl_idname = "blendsplat.bake_live"
    bl_label = "Bake Live"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        if carrier is None:
            return common.NO_AVATAR
        if sentence := linked.sentence(carrier):
            return sentence
        if not avatar_rig.can_follow(carrier):
            return f"{carrier.name} has no head, or no blendshapes that could follow it."
        if not carrier.blendsplat.live:
            return f"Live is off: {carrier.name} plays its keyframes already."
        return ""

    def subject(self, context: bpy.types.Context) -> bpy.types.Object:
        return avatar.selected_avatar(context)

    def rows(self, subject: bpy.types.Object, frames: list[int], seconds: float) -> list[HeadState] | None:
        return timeline_heads.states(subject, frames, seconds) if avatar_rig.can_follow(subject) else None

    def end(self, context: bpy.types.Context, subject: bpy.types.Object, rows: list[HeadState]) -> set[str]:
        avatar_rig.key_states(subject, self.frames, rows)
        subject.blendsplat.live = False
        self.report({"INFO"}, f"{subject.name}: {len(self.frames)} frames are keyed, Live is off.")
        return {"FINISHED"}


register, unregister = bpy.utils.register_classes_factory((BakeLive,))
