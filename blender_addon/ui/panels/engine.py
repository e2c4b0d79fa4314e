# SPDX-License-Identifier: GPL-3.0-or-later
"""The first panel: is there an engine, does it run, how is it installed."""

from __future__ import annotations

import bpy

from ... import preferences
from ...client import session
from ..operators import engine as engine_operators
from .layout import Panel, paragraph, progress


class BLENDSPLAT_PT_engine(Panel):
    bl_label = "Engine"
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        column = self.column()
        installation = engine_operators.installation()
        if installation is not None and installation.state == "running":
            progress(column, installation.fraction, installation.step)
            column.label(text=(installation.lines or [""])[-1][:60])
            column.operator("blendsplat.engine_install_cancel", icon="X")
            return
        if installation is not None and installation.state == "failed":
            paragraph(context, column, installation.error, "ERROR")
        self._state(context, column)
        prefs = preferences.get()
        if not isinstance(prefs, bpy.types.AddonPreferences):
            return
        column.prop(prefs, "engine_kind", text="")
        if prefs.engine_kind == "COMMAND":
            column.prop(prefs, "engine_command", text="Command")
        elif not preferences.installed_command():
            column.operator("blendsplat.engine_install", icon="IMPORT")
            if not bpy.app.online_access:
                paragraph(
                    context,
                    column,
                    "Installing needs the network: allow Online Access in Preferences > System.",
                    "INTERNET_OFFLINE",
                )

    def _state(self, context: bpy.types.Context, column: bpy.types.UILayout) -> None:
        link = session.link
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
        row.operator("blendsplat.engine_stop", text="End")
        row.operator("blendsplat.engine_log", text="Log")


CLASSES = (BLENDSPLAT_PT_engine,)
