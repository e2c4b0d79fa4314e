# SPDX-License-Identifier: GPL-3.0-or-later
"""The panels from a video to a rendered avatar, in the order of the work."""

from __future__ import annotations

import bpy

from ...client import preview, session
from ...render import engine as render_engine
from ...scene import avatar_repair, avatar_rig, baked_avatar, fit_scene, networks
from ..operators import avatar as avatar_operators
from ..operators import common, track, train
from ..pass_properties import draw_passes, draw_quality
from . import render_rows
from .job_button import on_its_way, step
from .layout import Panel, paragraph, placeholder, sliders

_OTHER_ENGINE = "This scene's render engine does not draw avatars: Blendsplat does, as they were trained."


class BLENDSPLAT_PT_video(Panel):
    bl_label = "1  Video"
    bl_order = 2

    def draw(self, context: bpy.types.Context) -> None:
        column, settings = self.column(), context.scene.blendsplat
        column.prop(settings, "video")
        column.prop(settings, "directory", placeholder=placeholder(common.directory_of(context.scene)))
        trim = column.column(align=True)
        trim.prop(settings, "start")
        trim.prop(settings, "end")
        column.prop(settings, "crop_auto")
        if not settings.crop_auto:
            column.prop(settings, "crop", text="Left, Top, Size")
        column.prop(settings, "size")
        column.prop(settings, "matte")
        if settings.matte == "folder":
            column.prop(settings, "matte_folder")
        step(context, column, "import", "blendsplat.import_video", "FILE_MOVIE")


class BLENDSPLAT_PT_track(Panel):
    bl_label = "2  Track"
    bl_order = 3

    def draw(self, context: bpy.types.Context) -> None:
        column, settings = self.column(), context.scene.blendsplat
        column.prop(settings, "head")
        if settings.head == "file":
            column.prop(settings, "head_path", text="File")
        column.prop(settings, "track_init")
        column.prop(settings, "refine")
        column.prop(settings, "lens")
        if settings.lens == "given":
            column.prop(settings, "focal_length")
            column.prop(settings, "lens_shift", text="Shift X, Y")
        else:
            column.operator("blendsplat.keep_lens", icon="LOCKED")
        column.prop(settings, "zooms")
        column.prop(settings, "match_scene")
        step(context, column, "track", "blendsplat.track", "TRACKING")
        if sentence := track.outdated(common.directory_of(context.scene)):
            paragraph(context, column, sentence, "ERROR")
        column.operator("blendsplat.add_head", icon="USER")
        on_its_way(context, column, track.TOPIC, "track", "Fetching the head...")


class BLENDSPLAT_PT_train(Panel):
    bl_label = "3  Train"
    bl_order = 4

    def draw(self, context: bpy.types.Context) -> None:
        column, settings = self.column(), context.scene.blendsplat
        column.prop(settings, "preset")
        column.prop(settings, "output", placeholder=placeholder(common.output_of(context.scene)))
        text = "Continue Training" if train.continues(context.scene) else ""
        step(context, column, "train", "blendsplat.train", "SHADING_RENDERED", text)
        job = common.job_of(context.scene, "train")
        if job is not None and preview.icon(job.number):
            column.template_icon(icon_value=preview.icon(job.number), scale=10.0)
        if job is not None and job.figures:
            column.label(text="   ".join(f"{name} {value:.3g}" for name, value in list(job.figures.items())[:3]))
        if line := train.cost_line(job):
            paragraph(context, column, line, "INFO")


class BLENDSPLAT_PT_avatar(Panel):
    bl_label = "4  Avatar"
    bl_order = 5

    def draw(self, context: bpy.types.Context) -> None:
        column, settings = self.column(), context.scene.blendsplat
        column.prop(settings, "avatar_file", placeholder=placeholder(avatar_operators.file_of(context.scene)))
        column.operator("blendsplat.add_avatar", icon="OUTLINER_OB_POINTCLOUD")
        column.separator()
        column.prop(settings, "performance")
        column.prop(settings, "performance_start")
        column.operator("blendsplat.apply_performance", icon="KEY_HLT")
        carrier = avatar_operators.selected_avatar(context)
        if carrier is not None:
            column.separator()
            column.label(text=carrier.name, icon="OUTLINER_OB_POINTCLOUD")
            if sentence := avatar_repair.sentence(carrier):
                paragraph(context, column, sentence, "ERROR")
                if avatar_repair.lost(carrier) != avatar_repair.NODES:  # what a new head would come from
                    column.prop(carrier.blendsplat, "avatar_path", text="Its File")
                column.operator("blendsplat.repair_avatar", icon="TOOL_SETTINGS")
            row = column.row()
            row.enabled = bool(avatar_rig.blendshape_keys(carrier))
            row.prop(carrier.blendsplat, "live", toggle=True)
            if networks.drawn_by_networks(carrier):
                _networks(context, column, carrier)
            for sentence in (baked_avatar.line_of(carrier), baked_avatar.hidden_original(carrier)):
                if sentence:
                    paragraph(context, column, sentence, "INFO")
            for item in (carrier, carrier.blendsplat.head):
                if item is not None and item.blendsplat.remark:
                    paragraph(context, column, item.blendsplat.remark, "INFO")


def _networks(context: bpy.types.Context, column: bpy.types.UILayout, carrier: bpy.types.Object) -> None:
    """What of an avatar with networks is rendered, whether that can be done, and what its sliders cost."""
    column.prop(carrier.blendsplat, "shown")
    if carrier.blendsplat.shown != networks.SLIDERS:
        paragraph(context, column, "The viewport shows the sliders.", "INFO")
        column.prop(carrier.blendsplat, "avatar_path", text="Its File")
        sentence = "" if session.remote() else networks.missing_file(carrier)
        if sentence:
            paragraph(context, column, sentence, "ERROR")
    if line := networks.cost_of(carrier):
        paragraph(context, column, line, "BLANK1")
    step(context, column, "bake", "blendsplat.bake_networks", "REC")


class BLENDSPLAT_PT_sliders(Panel):
    bl_label = "Sliders"
    bl_parent_id = "BLENDSPLAT_PT_avatar"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return _head(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        sliders(self.layout, _head(context), lambda name: True)


class BLENDSPLAT_PT_render(Panel):
    bl_label = "5  Render"
    bl_order = 6

    def draw(self, context: bpy.types.Context) -> None:
        column, scene = self.column(), context.scene
        if not avatar_operators.uses_render_engine(scene):
            own = scene.render.engine == render_engine.ENGINE_ID
            sentence = 'The trained colours appear with the view transform "Standard".' if own else _OTHER_ENGINE
            paragraph(context, column, sentence, "INFO")
            column.operator("blendsplat.use_render_engine", icon="RENDER_STILL")
        column.prop(scene.render, "film_transparent", text="Transparent")
        draw_quality(column, scene)
        render_rows.draw_surroundings(column, scene)
        draw_passes(column, context.view_layer)
        render_rows.draw_limits(context, column)
        row = column.row(align=True)
        row.operator("render.render", text="Image", icon="RENDER_STILL").use_viewport = False
        row.operator("render.render", text="Animation", icon="RENDER_ANIMATION").animation = True
        column.operator("blendsplat.export_ply", icon="EXPORT")


class BLENDSPLAT_PT_film(bpy.types.Panel):
    bl_label = "Film"
    bl_space_type = "PROPERTIES"
    bl_region_type = "WINDOW"
    bl_context = "render"
    COMPAT_ENGINES = {render_engine.ENGINE_ID}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.engine in cls.COMPAT_ENGINES

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(context.scene.render, "film_transparent", text="Transparent")
        draw_quality(layout, context.scene)
        draw_passes(layout, context.view_layer)


def _head(context: bpy.types.Context) -> bpy.types.Object | None:
    """The head whose sliders are shown: the selected avatar's, else the active one."""
    carrier = avatar_operators.selected_avatar(context)
    head = carrier.blendsplat.head if carrier is not None else None
    active = context.view_layer.objects.active
    if head is None and active is not None and active.blendsplat.kind == "HEAD" and not fit_scene.fits_of(active):
        head = active  # a fitted head has sliders of its own, above
    return head if head is not None and head.data is not None and head.data.shape_keys is not None else None


CLASSES = (
    BLENDSPLAT_PT_video, BLENDSPLAT_PT_track, BLENDSPLAT_PT_train, BLENDSPLAT_PT_avatar, BLENDSPLAT_PT_sliders,
    BLENDSPLAT_PT_render, BLENDSPLAT_PT_film,
)  # fmt: skip
