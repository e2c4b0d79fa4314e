# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel of heads from photographs: choose, fit, see what came of each, and what to do with the head."""

from __future__ import annotations

from pathlib import Path

import bpy

from ...client import preview
from ...scene import fit_scene
from .. import photographs
from ..operators import common, fit_image, fitted_head
from . import face
from .job_button import on_its_way, step
from .layout import StepPanel, column_of, identity_sliders, paragraph, placeholder, section


class BLENDSPLAT_UL_photographs(bpy.types.UIList):
    def draw_item(self, _context, layout, _data, item, _icon, _active_data, _active_name) -> None:  # type: ignore[no-untyped-def]
        state = item.bl_rna.properties["state"].enum_items[item.state]
        layout.label(text=item.name, icon=state.icon)


class BLENDSPLAT_PT_photograph(StepPanel):
    bl_label = "Head from a Photograph"
    bl_order = 1
    step = "photograph"

    def body(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        _photographs(context, column_of(layout))
        if (part := section(layout, "how_to_fit", "How to Fit", closed=True)) is not None:
            _settings(context, column_of(part))
        head = fitted_head.meant_head(context)
        if head is not None and (part := section(layout, "fitted_head", "Fitted Head")) is not None:
            _head(context, column_of(part), head)
            if (inner := section(part, "fitted_expression", "Expression Sliders", closed=True)) is not None:
                face.draw_parts(context, inner, head)
            if (inner := section(part, "fitted_identity", "Face Shape Sliders", closed=True)) is not None:
                identity_sliders(inner.column(align=True), head)


def _photographs(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """Which photographs, and what came of the highlighted one."""
    settings = context.scene.blendsplat.photographs
    step(context, column, "fit_image", "blendsplat.fit_image", "IMAGE_DATA")
    on_its_way(context, column, fit_image.TOPIC, "fit_image", "Fetching the head...")
    if not settings.files:
        return
    if len(settings.files) > 1:
        column.template_list(
            "BLENDSPLAT_UL_photographs", "", settings, "files", settings, "active", rows=min(5, len(settings.files))
        )
    item = photographs.active(settings)
    if item is not None:
        _outcome(context, column, item)
    job = common.job_of(context.scene, "fit_image")
    if job is None or not job.running:
        column.operator("blendsplat.fit_again", icon="FILE_REFRESH")


def _settings(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """How photographs are fitted."""
    settings = context.scene.blendsplat.photographs
    fit_image.draw_settings(column, context.scene)
    images = [Path(bpy.path.abspath(item.path)) for item in settings.files]
    folder = photographs.default_directory(images) if images else None
    column.prop(settings, "directory", placeholder=placeholder(folder))
    if sentence := common.no_weights():
        paragraph(context, column, sentence, "ERROR")


def _head(context: bpy.types.Context, column: bpy.types.UILayout, head: bpy.types.Object) -> None:
    """What is done with a fitted head."""
    column.label(text=head.name, icon="USER")
    column.operator("blendsplat.look_through", icon="VIEW_CAMERA")
    if fit_scene.hidden_heads(context.scene):
        column.operator("blendsplat.show_all_heads", icon="HIDE_OFF")
    column.operator("blendsplat.reset_sliders", icon="LOOP_BACK")
    job = common.job_of(context.scene, "export_head")
    step(context, column, "export_head", "blendsplat.export_head", "EXPORT")
    if job is not None and job.state == "done":
        paragraph(context, column, f"Wrote {Path(job.params['output']).name}.", "CHECKMARK")


def _outcome(context: bpy.types.Context, column: bpy.types.UILayout, item: photographs.BlendsplatPhotograph) -> None:
    """What came of one photograph: its overlay, what is doubtful, or why it failed."""
    column.label(text=item.name, icon=item.bl_rna.properties["state"].enum_items[item.state].icon)
    folder = photographs.folder_of(item)
    if folder is not None and (icon := preview.picture(folder / "overlay.png")):
        column.template_icon(icon_value=icon, scale=9.0)
    for sentence in item.notes.splitlines():
        paragraph(context, column, sentence, "ERROR" if item.state == "FAILED" else "INFO")
    if item.folder and folder is None:
        paragraph(context, column, f"Its fit is no longer in {bpy.path.abspath(item.folder)}: fit again.", "ERROR")
    elif folder is not None and fitted_head.meant_camera(context) is None:
        column.operator("blendsplat.add_fit", icon="USER")


CLASSES = (BLENDSPLAT_UL_photographs, BLENDSPLAT_PT_photograph)
