# SPDX-License-Identifier: GPL-3.0-or-later
"""The last steps of the work: the avatar in the scene, and its renders."""

from __future__ import annotations

import bpy

from ...client import session
from ...render import engine as render_engine
from ...render import limits
from ...scene import avatar_repair, avatar_rig, baked_avatar, linked, networks
from ..operators import avatar as avatar_operators
from ..pass_properties import draw_passes, draw_quality
from . import learned_keys, performance, render_rows, several, splat_geometry
from .job_button import button, step
from .layout import StepPanel, column_of, paragraph, placeholder, section

_OTHER_ENGINE = "This scene's render engine does not draw avatars: Blendsplat does, as they were trained."


class BLENDSPLAT_PT_avatar(StepPanel):
    bl_label = "4  Avatar"
    bl_order = 7
    step = "avatar"

    def summary(self, context: bpy.types.Context) -> str:
        carrier = avatar_operators.selected_avatar(context)
        return carrier.name if carrier is not None else ""

    def body(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        column, settings = column_of(layout), context.scene.blendsplat
        column.prop(settings, "avatar_file", placeholder=placeholder(avatar_operators.file_of(context.scene)))
        button(context, column, "blendsplat.add_avatar", "OUTLINER_OB_POINTCLOUD")
        column.separator()
        performance.draw(context, layout)
        column = column_of(layout)
        carrier = avatar_operators.selected_avatar(context)
        if carrier is None:
            several.draw_unselected(context, column)
        else:
            column.separator()
            several.draw(context, column, carrier)
            if sentence := avatar_repair.sentence(carrier):
                paragraph(context, column, sentence, "ERROR")
                if avatar_repair.lost(carrier) != avatar_repair.NODES:  # what a new head would come from
                    column.prop(carrier.blendsplat, "avatar_path", text="Its File")
                button(context, column, "blendsplat.repair_avatar", "TOOL_SETTINGS")
            if sentence := limits.view_sentence():
                paragraph(context, column, sentence, "ERROR")
            row = column.row()
            row.enabled = bool(avatar_rig.blendshape_keys(carrier)) and not linked.sentence(carrier)
            row.prop(carrier.blendsplat, "live", toggle=True)
            if carrier.blendsplat.live:
                row.operator("blendsplat.bake_live", text="Bake", icon="REC")
            if row.enabled:
                learned_keys.draw_hold(context, column, carrier)
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
        several.draw_packing(column, carrier)
    if line := networks.cost_of(carrier):
        paragraph(context, column, line, "BLANK1")
    step(context, column, "bake", "blendsplat.bake_networks", "REC")


class BLENDSPLAT_PT_render(StepPanel):
    bl_label = "5  Render"
    bl_order = 8
    step = "render"

    def body(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        column, scene = column_of(layout), context.scene
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
        several.draw_exports(column)
        if (part := section(layout, "splat_geometry", "For EEVEE and Cycles", closed=True)) is not None:
            splat_geometry.draw(context, column_of(part))


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


CLASSES = (BLENDSPLAT_PT_avatar, BLENDSPLAT_PT_render, BLENDSPLAT_PT_film)
