# SPDX-License-Identifier: GPL-3.0-or-later
"""Splats as Geometry: an avatar's splats as faces for EEVEE and Cycles, live or as a mesh of one frame."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty

from ...scene import avatar_repair, linked, splat_geometry
from . import avatar, common

EEVEE = ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE")
_SHAPES = (
    (
        splat_geometry.QUADS, "Quads", "Soft transparent faces towards the scene's camera: through it, the picture "
        "that was trained. From other sides they are seen slanted",
    ),
    (
        splat_geometry.ELLIPSOIDS, "Ellipsoids", "Solid bodies, coarser but right from everywhere: for shadows, "
        "reflections, stylized looks and fast renders. Faint splats are left out",
    ),
)  # fmt: skip
_LOOKS = (
    (
        splat_geometry.UNLIT, "Unlit", "The colors of the video, whatever the scene's light; blended as light, like "
        "all else in the scene. Hair and edges come out a little brighter than in training",
    ),
    (
        splat_geometry.LIT, "Lit", "A surface that the scene's lamps light, along the head's surface. The light of the "
        "video is still in the colors, so soft lamps suit it. Quads cast no shadow",
    ),
    (
        splat_geometry.AS_TRAINED, "Colors as Trained", 'Exactly the trained picture, with the view transform "Raw". '
        "Other objects have wrong colors in such a render: give the avatar a view layer of its own, and in the "
        "compositor a Convert Colorspace node from sRGB to Linear Rec.709",
    ),
)  # fmt: skip


class SplatGeometry(common.Grey, bpy.types.Operator):
    """Give the avatar's splats faces that EEVEE and Cycles render, also in Blenders without this extension: a modifier
    that follows its keys, its head and the camera. The render engine Blendsplat needs none of it"""

    bl_idname = "blendsplat.splat_geometry"
    bl_label = "Splats as Geometry"
    bl_options = {"REGISTER", "UNDO"}

    shape: EnumProperty(name="Shape", items=_SHAPES, description="What a splat becomes")
    look: EnumProperty(name="Look", items=_LOOKS, description="Where its color comes from")
    in_viewport: BoolProperty(
        name="In Viewports, Too",
        description="Also show the faces while you work (the modifier's monitor icon). Solid shading shows them opaque",
    )
    set_up: BoolProperty(
        name="Set Up the Scene",
        default=True,
        description="Set the view transform that shows these colors, and let Cycles look through as many transparent "
        "faces as quads lie over each other. The render engine stays",
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return _no_avatar(context)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        modifier = splat_geometry.modifier_of(avatar.selected_avatar(context))
        if modifier is not None:
            self.shape, self.look = splat_geometry.shape_of(modifier), splat_geometry.look_of(modifier)
            self.in_viewport = modifier.show_viewport
        return context.window_manager.invoke_props_dialog(self)

    def draw(self, _context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "shape", expand=True)
        layout.prop(self, "look")
        layout.prop(self, "in_viewport")
        layout.prop(self, "set_up")

    def execute(self, context: bpy.types.Context) -> set[str]:
        carrier, scene = avatar.selected_avatar(context), context.scene
        splat_geometry.add(carrier, self.shape, self.look, self.in_viewport)
        if self.set_up:
            set_up(scene, self.shape, self.look)
        elif sentence := unfit(scene, carrier):
            self.report({"WARNING"}, sentence)
        if scene.camera is None and self.shape == splat_geometry.QUADS:
            self.report({"WARNING"}, "Quads face the scene's camera: add one, or they lie flat.")
        return {"FINISHED"}


class RemoveSplatGeometry(common.Grey, bpy.types.Operator):
    """Take the faces away again; the avatar itself stays as it is"""

    bl_idname = "blendsplat.remove_splat_geometry"
    bl_label = "Remove"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return _no_faces(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        splat_geometry.remove(avatar.selected_avatar(context))
        return {"FINISHED"}


class BakeFrame(common.Grey, bpy.types.Operator):
    """Make an ordinary mesh of this frame's faces, to be edited, exported or rendered anywhere. It moves no more: quads
    stay turned to where the camera is now"""

    bl_idname = "blendsplat.bake_frame"
    bl_label = "Bake Frame to Mesh"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return _no_faces(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        carrier = avatar.selected_avatar(context)
        made = splat_geometry.snapshot(context, carrier)
        if made is None:
            self.report(
                {"ERROR"}, f"{carrier.name} is hidden: switch its eye and its screen on in the outliner, then bake."
            )
            return {"CANCELLED"}
        self.report({"INFO"}, f"{made.name}: {len(made.data.polygons):,} faces.")
        return {"FINISHED"}


def set_up(scene: bpy.types.Scene, shape: str, look: str) -> None:
    """The view transform of the look; in Cycles, no limit of layers before all of a pixel's quads are seen."""
    scene.view_settings.view_transform = splat_geometry.view_transform_for(look)
    if shape == splat_geometry.QUADS and hasattr(scene, "cycles"):
        scene.cycles.transparent_max_bounces = splat_geometry.MOST_TRANSPARENT
        # By chance Cycles else stops early behind what is nearly opaque, which is noise that no sampling needs.
        scene.cycles.min_transparent_bounces = splat_geometry.MOST_TRANSPARENT


def unfit(scene: bpy.types.Scene, carrier: bpy.types.Object) -> str:
    """What of the scene's settings shows the avatar's faces otherwise than they are, in a sentence; "": nothing."""
    modifier = splat_geometry.modifier_of(carrier)
    if modifier is None:
        return ""
    render, look = scene.render, splat_geometry.look_of(modifier)
    quads = splat_geometry.shape_of(modifier) == splat_geometry.QUADS
    if sentence := _other_colors(scene, look):
        return sentence
    if quads and scene.camera is not None and scene.camera.data.type == "PANO":
        return "Quads are for perspective and orthographic cameras: for a panorama choose Ellipsoids."
    if quads and render.engine == "CYCLES" and scene.cycles.transparent_max_bounces < 256:
        most, needed = scene.cycles.transparent_max_bounces, splat_geometry.MOST_TRANSPARENT
        return f"Cycles looks through {most} quads only: raise Light Paths > Transparent to {needed}."
    if quads and render.engine in EEVEE and render.use_motion_blur and scene.eevee.motion_blur_steps < 2:
        return "EEVEE blurs quads that move only by steps: set Motion Blur > Steps to 8 or more."
    return ""


def _other_colors(scene: bpy.types.Scene, look: str) -> str:
    """Why the picture's colours are not the video's, or ""."""
    view, wanted = scene.view_settings.view_transform, splat_geometry.view_transform_for(look)
    if view == wanted or (look == splat_geometry.AS_TRAINED and view == "Standard" and _converts(scene)):
        return ""
    sentence = f'Their colors are the video\'s with the view transform "{wanted}" (Render > Color Management)'
    if look == splat_geometry.AS_TRAINED:
        sentence += ', or with "Standard" and a Convert Colorspace node in the compositor, sRGB to Linear Rec.709'
    return sentence + "."


def _converts(scene: bpy.types.Scene) -> bool:
    """Whether the compositor turns colours into light."""
    if hasattr(scene, "compositing_node_group"):  # from 5.0 on
        tree = scene.compositing_node_group
    else:
        tree = scene.node_tree if scene.use_nodes else None
    return tree is not None and any(node.bl_idname == "CompositorNodeConvertColorSpace" for node in tree.nodes)


def _no_avatar(context: bpy.types.Context) -> str:
    carrier = avatar.selected_avatar(context)
    if carrier is None:
        return common.NO_AVATAR
    if carrier.library is not None:
        return linked.sentence(carrier)
    sentence = avatar_repair.sentence(carrier)
    return f"{sentence} Press Repair Avatar in the panel 4 Avatar." if sentence else ""


def _no_faces(context: bpy.types.Context) -> str:
    carrier = avatar.selected_avatar(context)
    if carrier is not None and splat_geometry.modifier_of(carrier) is None:
        return "There are no faces yet: press Splats as Geometry first."
    return _no_avatar(context)


CLASSES = (SplatGeometry, RemoveSplatGeometry, BakeFrame)
register, unregister = bpy.utils.register_classes_factory(CLASSES)
