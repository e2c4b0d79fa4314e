# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake Live: what Live shows in a range of frames becomes keyframes, which play without the extension."""

from __future__ import annotations

from collections.abc import Iterator

import bpy
from bpy.props import IntProperty

from ...scene import avatar_rig, linked, timeline_heads
from . import avatar, common

_SECONDS = 0.05  # of reading between two turns of Blender's own


class BakeLive(common.Grey, bpy.types.Operator):
    """Write what Live shows in a range of frames as keyframes of the blendshapes, and switch Live off: poses and
    sliders that you keyed by hand then play anywhere, without this extension. Esc gives up and changes nothing"""

    bl_idname = "blendsplat.bake_live"
    bl_label = "Bake Live"
    bl_options = {"REGISTER", "UNDO"}

    frame_start: IntProperty(name="Start", options={"SKIP_SAVE"}, description="First frame of the timeline to bake")
    frame_end: IntProperty(name="End", options={"SKIP_SAVE"}, description="Last frame of the timeline to bake")

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        if carrier is None:
            return "Add an avatar first (or select one)."
        if sentence := linked.sentence(carrier):
            return sentence
        if not avatar_rig.can_follow(carrier):
            return f"{carrier.name} has no head, or no blendshapes that could follow it."
        if not carrier.blendsplat.live:
            return f"Live is off: {carrier.name} plays its keyframes already."
        return ""

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        self._take_range(context.scene)
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        self._take_range(context.scene)
        if self.frame_end < self.frame_start:
            sentence = f"There is no frame from {self.frame_start} to {self.frame_end}: the end is too early."
            self.report({"ERROR"}, sentence)
            return {"CANCELLED"}
        self._carrier = avatar.selected_avatar(context).session_uid
        self._work = self._read(context.scene)
        if bpy.app.background:
            for _ in self._work:
                pass
            return self._end(context)
        self._timer = context.window_manager.event_timer_add(0.01, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if event.type == "ESC":
            return self._stop(context, {"CANCELLED"})
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        try:
            context.workspace.status_text_set(f"Bake Live: {next(self._work):.0%}, Esc gives up")
        except StopIteration:
            return self._stop(context, self._end(context))
        return {"RUNNING_MODAL"}

    def _take_range(self, scene: bpy.types.Scene) -> None:
        """The scene's range, where none is given."""
        for name in ("frame_start", "frame_end"):
            if not self.properties.is_property_set(name):
                setattr(self, name, getattr(scene, name))

    def _find(self, scene: bpy.types.Scene) -> bpy.types.Object | None:
        """The avatar; None where it was deleted meanwhile."""
        return next((item for item in scene.objects if item.session_uid == self._carrier), None)

    def _read(self, scene: bpy.types.Scene) -> Iterator[float]:
        """Collect the head's states in short turns; yields how far it is."""
        self._frames, self._states = list(range(self.frame_start, self.frame_end + 1)), []
        while len(self._states) < len(self._frames):
            carrier = self._find(scene)
            if carrier is None or not avatar_rig.can_follow(carrier):
                return
            self._states += timeline_heads.states(carrier, self._frames[len(self._states) :], _SECONDS)
            yield len(self._states) / len(self._frames)

    def _end(self, context: bpy.types.Context) -> set[str]:
        carrier = self._find(context.scene)
        if carrier is None or len(self._states) < len(self._frames):
            self.report({"ERROR"}, "The avatar or its head is no longer there: nothing was baked.")
            return {"CANCELLED"}
        avatar_rig.key_states(carrier, self._frames, self._states)
        carrier.blendsplat.live = False
        self.report({"INFO"}, f"{carrier.name}: {len(self._frames)} frames are keyed, Live is off.")
        return {"FINISHED"}

    def _stop(self, context: bpy.types.Context, result: set[str]) -> set[str]:
        context.window_manager.event_timer_remove(self._timer)
        context.workspace.status_text_set(None)
        return result


register, unregister = bpy.utils.register_classes_factory((BakeLive,))
