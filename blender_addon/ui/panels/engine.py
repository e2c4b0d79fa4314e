# SPDX-License-Identifier: GPL-3.0-or-later
"""Before the steps: is there an engine, does it run, how is it installed. Folded while there is nothing to do."""

from __future__ import annotations

import bpy

from ... import preferences
from ...client import session
from ..operators import installation
from ..step_state import has_command
from .engine_parts import draw_installation, draw_online_access, draw_test_picture, plan
from .layout import StepPanel, column_of, paragraph


class BLENDSPLAT_PT_engine(StepPanel):
    bl_label = "Engine"
    bl_order = 0
    step = "engine"

    def summary(self, context: bpy.types.Context) -> str:
        return {"ready": "Ready", "off": "Starts when needed"}.get(session.link.state, "") if has_command() else ""

    def header_buttons(self, header: bpy.types.UILayout) -> None:
        header.operator("blendsplat.open_preferences", text="", icon="PREFERENCES", emboss=False).page = "ADDON"

    def body(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        column = column_of(layout)
        draw_installation(context, column)
        if installation.installing():
            return
        prefs = preferences.get()
        chosen = isinstance(prefs, bpy.types.AddonPreferences)
        if chosen and prefs.engine_kind == "INSTALLED" and not preferences.installed_command():
            column.prop(prefs, "engine_kind", text="")
            self._missing(context, column, prefs)
            return
        self._state(context, column)
        self._versions(context, column)
        if chosen and session.link.state != "ready":
            column.prop(prefs, "engine_kind", text="")
            if prefs.engine_kind == "COMMAND":
                column.prop(prefs, "engine_command", text="Command")
        draw_test_picture(context, column)

    def _missing(
        self, context: bpy.types.Context, column: bpy.types.UILayout, prefs: bpy.types.AddonPreferences
    ) -> None:
        """No engine yet: what installing brings, and the button."""
        removal = installation.removal()
        if removal is not None:
            sentence = "Removing the engine..." if removal.running else removal.sentence
            paragraph(context, column, sentence, "ERROR" if removal.failed else "INFO")
        column.prop(prefs, "torch")
        paragraph(context, column, plan(), "INFO")
        column.operator("blendsplat.engine_install", icon="IMPORT")
        draw_online_access(context, column)

    def _state(self, context: bpy.types.Context, column: bpy.types.UILayout) -> None:
        link = session.link
        if link.silence:
            paragraph(
                context, column, f"The engine has not answered for {link.silence:.0f} s. Go on working; End gives up.",
                "ERROR",
            )  # fmt: skip
        if link.state == "ready":
            devices = ", ".join(str(item.get("name", item.get("id"))) for item in link.hello.get("devices", [])[-1:])
            column.label(text=f"Ready: {link.hello.get('version', '?')}", icon="CHECKMARK")
            if devices:
                column.label(text=devices[:48])
        elif link.state == "starting":
            column.label(text="Starting...", icon="TIME")
        elif link.state == "failed":
            paragraph(context, column, link.sentence, "ERROR")
        else:
            column.label(text="Not running: it starts when needed", icon="RADIOBUT_OFF")
        row = column.row(align=True)
        row.operator("blendsplat.engine_check", text="Check")
        row.operator("blendsplat.test_picture", text="Test Picture")
        row = column.row(align=True)
        row.operator("blendsplat.engine_stop", text="End")
        row.operator("blendsplat.engine_log", text="Log")

    def _versions(self, context: bpy.types.Context, column: bpy.types.UILayout) -> None:
        """An engine of another version than this add-on's, and what to do."""
        if preferences.get().engine_kind == "INSTALLED":
            if update := installation.update():
                paragraph(
                    context,
                    column,
                    f"The engine installed is {update[0]}, this add-on brings {update[1]}.",
                    "FILE_REFRESH",
                )
                column.operator("blendsplat.engine_install", text=f"Update Engine to {update[1]}", icon="FILE_REFRESH")
                draw_online_access(context, column)
            return
        theirs, ours = str(session.link.hello.get("version") or ""), preferences.version()
        if session.link.state == "ready" and theirs != ours:
            sentence = (
                f"That engine is version {theirs or '?'}, this add-on {ours}: bring them to the same version there."
            )
            paragraph(context, column, sentence, "INFO")


CLASSES = (BLENDSPLAT_PT_engine,)
