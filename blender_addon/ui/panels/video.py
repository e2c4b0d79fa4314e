# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 1: which video, which part of it, and what came of it."""

from __future__ import annotations

import bpy

from ...client import preview
from ...scene import clip_facts
from ..operators import common
from .job_button import step
from .layout import StepPanel, column_of, placeholder


class BLENDSPLAT_PT_video(StepPanel):
    bl_label = "1  Video"
    bl_order = 3
    step = "video"

    def summary(self, context: bpy.types.Context) -> str:
        clip = clip_facts.read(common.directory_of(context.scene))
        return clip.summary if clip is not None else ""

    def body(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        column, settings = column_of(layout), context.scene.blendsplat
        clip_card(column, context.scene)
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


def clip_card(column: bpy.types.UILayout, scene: bpy.types.Scene) -> None:
    """The imported clip: its first picture, how many frames, how large, how long."""
    clip = clip_facts.read(common.directory_of(scene))
    if clip is None:
        return
    box = column.box()
    if clip.first is not None and (icon := preview.picture(clip.first)):
        box.template_icon(icon_value=icon, scale=8.0)
    row = box.row()
    words = row.column(align=True)
    words.label(text=clip.summary, icon="FILE_MOVIE")
    words.label(text=clip.size, icon="BLANK1")
    if clip.first is not None:
        row.operator("blendsplat.show_picture", text="", icon="FULLSCREEN_ENTER").kind = "CLIP"


CLASSES = (BLENDSPLAT_PT_video,)
