# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the panel 5 Render: what else is in the picture, and what will not be."""

from __future__ import annotations

import bpy

from ...render import limits
from ...scene import surroundings
from .layout import paragraph


def draw_surroundings(column: bpy.types.UILayout, scene: bpy.types.Scene) -> None:
    """The choice of what stands behind the avatars."""
    behind = surroundings.of(scene)
    row = column.row(align=True)
    for engine, text in (("EEVEE", "Behind: EEVEE"), ("CYCLES", "Behind: Cycles")):
        row.operator("blendsplat.add_surroundings", text=text).engine = engine
    if behind is not None:
        column.operator("blendsplat.remove_surroundings", icon="X")


def draw_limits(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """What the render will not show, before it is started."""
    for sentence in limits.sentences(context.scene):
        paragraph(context, column, sentence, "INFO")
