# SPDX-License-Identifier: GPL-3.0-or-later
"""What a view layer remembers: the passes that are rendered beside Blender's own."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, PointerProperty


def _changed(_settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """The compositor's Render Layers node gets, or loses, a socket."""
    if context.view_layer is not None:
        context.view_layer.update_render_passes()


class BlendsplatViewLayer(bpy.types.PropertyGroup):
    """Passes of the render engine Blendsplat."""

    use_pass_base: BoolProperty(
        name="Base",
        update=_changed,
        description="Render a second picture in which avatars with networks show only what all expressions share, "
        "without the person's own wrinkles; other avatars look as always. Compare it with the Combined pass, mix both",
    )
    use_pass_residual: BoolProperty(
        name="Residual",
        update=_changed,
        description="Render a second picture of what the person's own wrinkles change, on grey: brighter than grey "
        "where they brighten. Only avatars with networks are in it",
    )


def draw_passes(layout: bpy.types.UILayout, view_layer: bpy.types.ViewLayer) -> None:
    """The switches, in a column."""
    column = layout.column(heading="Passes", align=True)
    column.prop(view_layer, "use_pass_z", text="Depth")
    column.prop(view_layer.blendsplat, "use_pass_base")
    column.prop(view_layer.blendsplat, "use_pass_residual")


def register() -> None:
    bpy.utils.register_class(BlendsplatViewLayer)
    bpy.types.ViewLayer.blendsplat = PointerProperty(type=BlendsplatViewLayer)


def unregister() -> None:
    del bpy.types.ViewLayer.blendsplat
    bpy.utils.unregister_class(BlendsplatViewLayer)
