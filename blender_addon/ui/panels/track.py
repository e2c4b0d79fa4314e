# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 2: how the head is found in the clip."""

from __future__ import annotations

import bpy

from .. import step_state
from ..operators import common, track
from .job_button import button, on_its_way, step
from .layout import StepPanel, column_of, paragraph
from .video import clip_card


class BLENDSPLAT_PT_track(StepPanel):
    bl_label = "2  Track"
    bl_order = 4
    step = "track"

    def body(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        column, settings = column_of(layout), context.scene.blendsplat
        if step_state.current(context.scene) == "track" and not settings.show_video:
            clip_card(column, context.scene)  # look what was imported before it is tracked
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
            button(context, column, "blendsplat.keep_lens", "LOCKED")
        column.prop(settings, "zooms")
        column.prop(settings, "match_scene")
        step(context, column, "track", "blendsplat.track", "TRACKING")
        if sentence := track.outdated(common.directory_of(context.scene)):
            paragraph(context, column, sentence, "ERROR")
        button(context, column, "blendsplat.add_head", "USER")
        on_its_way(context, column, track.TOPIC, "track", "Fetching the head...")


CLASSES = (BLENDSPLAT_PT_track,)
