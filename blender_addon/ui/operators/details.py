# SPDX-License-Identifier: GPL-3.0-or-later
"""An error in full: what failed, what the engine says of it, with which settings, and the end of the engine's log."""

from __future__ import annotations

import json
import textwrap

import bpy
from bpy.props import BoolProperty, StringProperty

from ...client import exit_words, jobs, session
from . import common

_WIDTH = 90  # letters a line
_LINES = 36  # that a popup holds


def report(job: jobs.Job) -> str:
    """What is to be told of a job that failed, in lines."""
    parts = [f"{common.title_of(job)} failed: {job.error}"]
    if job.detail:
        parts += ["", "What the engine says:", job.detail.strip()]
    parts += ["", "Settings:", json.dumps(job.params, indent=1, ensure_ascii=False, default=str)]
    hello = session.link.hello
    parts += ["", f"Engine {hello.get('version', 'not running')}, Blender {bpy.app.version_string}"]
    if tail := exit_words.tail(session.log_path()):
        parts += ["", "The end of the engine's log:", tail]
    return "\n".join(parts)


class ShowDetails(common.Grey, bpy.types.Operator):
    """Show all that is known of this error: the engine's own words, the step's settings, the end of the log"""

    bl_idname = "blendsplat.show_details"
    bl_label = "Details"
    bl_options = {"INTERNAL"}
    kind: StringProperty(
        name="Kind", options={"SKIP_SAVE", "HIDDEN"}, description="The kind of job whose error is shown"
    )
    copy: BoolProperty(
        name="Copy", options={"SKIP_SAVE", "HIDDEN"}, description="Copy the text instead of showing it, to send it on"
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        failed = any((job := jobs.latest(kind)) is not None and job.state == "failed" for kind in jobs.TITLES)
        return "" if failed else "No step has failed."

    @classmethod
    def description(cls, context: bpy.types.Context, properties: ShowDetails) -> str:
        return "Copy the whole text, to send it to somebody who can help" if properties.copy else ""

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        if self.copy:
            return self.execute(context)
        return context.window_manager.invoke_popup(self, width=640)

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column(align=True)
        lines = [part for line in self._text().splitlines() for part in textwrap.wrap(line, _WIDTH) or [""]]
        for line in lines[:_LINES]:
            column.label(text=line)
        if len(lines) > _LINES:
            column.label(text=f"... and {len(lines) - _LINES} lines more: copy it, or see the log")
        row = self.layout.row()
        again = row.operator("blendsplat.show_details", text="Copy", icon="COPYDOWN")
        again.kind, again.copy = self.kind, True
        row.operator("blendsplat.engine_log", icon="TEXT")

    def execute(self, context: bpy.types.Context) -> set[str]:
        if not self._text():
            self.report({"ERROR"}, "This step has not failed.")
            return {"CANCELLED"}
        context.window_manager.clipboard = self._text()
        self.report({"INFO"}, "Copied.")
        return {"FINISHED"}

    def _text(self) -> str:
        job = jobs.latest(self.kind)
        return report(job) if job is not None and job.state == "failed" else ""


register, unregister = bpy.utils.register_classes_factory((ShowDetails,))
