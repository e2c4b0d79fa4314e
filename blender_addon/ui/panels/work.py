# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel that holds the steps of the work, each a panel of its own; above them, what is missing of the file."""

from __future__ import annotations

import bpy

from ..operators import relink
from .layout import Panel, paragraph


class BLENDSPLAT_PT_work(Panel):
    bl_label = "Heads and Avatars"
    bl_order = 1

    def draw(self, context: bpy.types.Context) -> None:
        missing, said = relink.missing(), relink.outcome(context.scene)
        if not missing and not said and not relink.searching():
            return
        column = self.column()
        if relink.searching():
            column.label(text="Looking for moved files...", icon="TIME")
            return
        if missing:
            names = ", ".join(one.path.name for one in missing[:3]) + (" ..." if len(missing) > 3 else "")
            paragraph(context, column, f"Not where this file looks for them: {names}", "ERROR")
            column.operator("blendsplat.relink", icon="FILE_FOLDER")
        for sentence in said:
            paragraph(context, column, sentence, "INFO" if missing else "CHECKMARK")


CLASSES = (BLENDSPLAT_PT_work,)
