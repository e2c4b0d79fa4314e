# SPDX-License-Identifier: GPL-3.0-or-later
"""In the step Render: an avatar's splats as faces for EEVEE and Cycles."""

from __future__ import annotations

import bpy

from ...render import engine as render_engine
from ...scene import splat_geometry
from ..operators import avatar as avatar_operators
from ..operators import splat_geometry as operators
from .layout import paragraph


def draw(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """The splats of the avatar that is meant, as faces, and where they are seen."""
    scene = context.scene
    carrier = avatar_operators.selected_avatar(context)
    modifier = splat_geometry.modifier_of(carrier) if carrier is not None else None
    row = column.row(align=True)
    row.operator("blendsplat.splat_geometry", icon="MOD_REMESH")
    if modifier is not None:
        row.operator("blendsplat.remove_splat_geometry", text="", icon="X")
        own = scene.render.engine == render_engine.ENGINE_ID
        where = "with EEVEE or Cycles; this scene renders with Blendsplat" if own else "and viewports"
        if not own and not modifier.show_viewport:
            where = "only: the modifier's monitor icon shows it in viewports, too"
        paragraph(context, column, f"{carrier.name} has faces, seen in renders {where}.", "INFO")
        if sentence := operators.unfit(scene, carrier):
            paragraph(context, column, sentence, "ERROR")
    column.operator("blendsplat.bake_frame", icon="MESH_DATA")
