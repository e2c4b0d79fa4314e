# SPDX-License-Identifier: GPL-3.0-or-later
"""What the render engine is told beside Blender's own settings: a scene's quality, a view layer's passes."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, IntProperty, PointerProperty


def _changed(_settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """The compositor's Render Layers node gets, or loses, a socket."""
    if context.view_layer is not None:
        context.view_layer.update_render_passes()


class BlendsplatRender(bpy.types.PropertyGroup):
    """A scene's settings of the render engine Blendsplat."""

    blur_samples: IntProperty(
        name="Blur Samples",
        default=16,
        min=2,
        soft_max=64,
        max=1024,
        description="How many pictures are mixed for a frame with Motion Blur or Depth of Field: more are smoother, "
        "and take as much longer",
    )
    hidden_by_others: BoolProperty(
        name="Hidden by Other Objects",
        default=True,
        description="Leave out what stands behind other objects, so that the avatar can be laid over a picture of them "
        "by EEVEE or Cycles. Off: avatars lie over everything",
    )
    surroundings: PointerProperty(
        name="Surroundings",
        type=bpy.types.Scene,
        description="The scene of the same objects that EEVEE or Cycles renders behind the avatars",
    )


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
    use_pass_alpha: BoolProperty(
        name="Alpha",
        update=_changed,
        description="Render how opaque avatars are as a picture of its own, which an opaque film does not hide",
    )
    use_pass_mattes: BoolProperty(
        name="Matte of Each Avatar",
        update=_changed,
        description="Render, for every avatar, where it is seen: white where it alone is, grey where it mixes. For "
        "colouring one avatar in the compositor",
    )


def draw_passes(layout: bpy.types.UILayout, view_layer: bpy.types.ViewLayer) -> None:
    """The switches, in a column."""
    column = layout.column(heading="Passes", align=True)
    column.prop(view_layer, "use_pass_z", text="Depth")
    column.prop(view_layer, "use_pass_normal", text="Normal")
    column.prop(view_layer, "use_pass_vector", text="Vector")
    for name in ("use_pass_alpha", "use_pass_mattes"):
        column.prop(view_layer.blendsplat, name)
    column.prop(view_layer.blendsplat, "use_pass_base")
    column.prop(view_layer.blendsplat, "use_pass_residual")


def draw_quality(layout: bpy.types.UILayout, scene: bpy.types.Scene) -> None:
    """What else makes a render."""
    layout.prop(scene.blendsplat_render, "hidden_by_others")
    row = layout.row()
    camera = scene.camera.data if scene.camera is not None and scene.camera.type == "CAMERA" else None
    row.active = scene.render.use_motion_blur or (camera is not None and camera.dof.use_dof)
    row.prop(scene.blendsplat_render, "blur_samples")


def register() -> None:
    bpy.utils.register_class(BlendsplatRender)
    bpy.utils.register_class(BlendsplatViewLayer)
    bpy.types.Scene.blendsplat_render = PointerProperty(type=BlendsplatRender)
    bpy.types.ViewLayer.blendsplat = PointerProperty(type=BlendsplatViewLayer)


def unregister() -> None:
    del bpy.types.ViewLayer.blendsplat
    del bpy.types.Scene.blendsplat_render
    bpy.utils.unregister_class(BlendsplatViewLayer)
    bpy.utils.unregister_class(BlendsplatRender)
