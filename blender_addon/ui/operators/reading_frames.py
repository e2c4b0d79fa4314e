# SPDX-License-Identifier: GPL-3.0-or-later
"""What bakes share: a range of frames that is read in short turns, so that Blender stays usable and Esc gives up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy
from bpy.props import IntProperty

from . import frame_range

_SECONDS = 0.05  # of reading between two turns of Blender's own


class ReadsFrames:
    """Mix-in of an operator: ``rows`` of the frames from frame_start to frame_end, of the object ``subject``, are
    collected, and ``end`` makes keyframes of them. In background it returns when that is done."""

    frame_start: IntProperty(name="Start", options={"SKIP_SAVE"}, description="First frame of the timeline to bake")
    frame_end: IntProperty(name="End", options={"SKIP_SAVE"}, description="Last frame of the timeline to bake")

    def subject(self, context: bpy.types.Context) -> bpy.types.Object:
        """What is read: an object, found again by its number after every turn."""
        raise NotImplementedError

    def rows(self, subject: bpy.types.Object, frames: list[int], seconds: float) -> list[Any] | None:
        """What the first of these frames show, as many as the seconds allow, at least one; None: it is gone."""
        raise NotImplementedError

    def end(self, context: bpy.types.Context, subject: bpy.types.Object, rows: list[Any]) -> set[str]:
        """All is read: write it."""
        raise NotImplementedError

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        frame_range.take(self, context.scene)
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        frame_range.take(self, context.scene)
        if sentence := frame_range.problem(self):
            self.report({"ERROR"}, sentence)
            return {"CANCELLED"}
        self._uid = self.subject(context).session_uid
        self.frames, self._rows = list(range(self.frame_start, self.frame_end + 1)), []
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
            context.workspace.status_text_set(f"{self.bl_label}: {next(self._work):.0%}, Esc gives up")
        except StopIteration:
            return self._stop(context, self._end(context))
        return {"RUNNING_MODAL"}

    def _find(self, scene: bpy.types.Scene) -> bpy.types.Object | None:
        """What is read; None where it was deleted meanwhile."""
        return next((item for item in scene.objects if item.session_uid == self._uid), None)

    def _read(self, scene: bpy.types.Scene) -> Iterator[float]:
        """Collect the rows in short turns; yields how far it is."""
        while len(self._rows) < len(self.frames):
            subject = self._find(scene)
            found = self.rows(subject, self.frames[len(self._rows) :], _SECONDS) if subject is not None else None
            if not found:
                return
            self._rows += found
            yield len(self._rows) / len(self.frames)

    def _end(self, context: bpy.types.Context) -> set[str]:
        subject = self._find(context.scene)
        if subject is None or len(self._rows) < len(self.frames):
            self.report({"ERROR"}, "What was to be baked, or its head, is no longer there: nothing was baked.")
            return {"CANCELLED"}
        return self.end(context, subject, self._rows)

    def _stop(self, context: bpy.types.Context, result: set[str]) -> set[str]:
        context.window_manager.event_timer_remove(self._timer)
        context.workspace.status_text_set(None)
        return result
