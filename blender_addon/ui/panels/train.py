# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 3: what the clip shows, how to train, and how well it goes."""

from __future__ import annotations

import bpy

from ...client import preview
from ...scene import avatar_quality
from .. import step_state, training_presets
from ..operators import common, measure_avatar, train
from . import coverage
from .job_button import step
from .layout import StepPanel, column_of, paragraph, placeholder, section


class BLENDSPLAT_PT_train(StepPanel):
    bl_label = "3  Train"
    bl_order = 6
    step = "train"

    def summary(self, context: bpy.types.Context) -> str:
        job = common.job_of(context.scene, "train")
        return context.scene.blendsplat.quality if job is None or not job.running else f"{job.fraction:.0%}"

    def body(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        job = common.job_of(context.scene, "train")
        told = coverage.of_clip(common.directory_of(context.scene))
        asked = told is not None and step_state.current(context.scene) == "train" and not (job and job.running)
        if asked and (part := section(layout, "coverage", "What the Clip Shows")) is not None:
            coverage.card(context, part.column(), told)
        column, settings = column_of(layout), context.scene.blendsplat
        row = column.row(align=True)
        row.prop(settings, "preset")
        training_presets.BLENDSPLAT_PT_training_presets.draw_panel_header(row.row())
        column.prop(settings, "minutes")
        column.prop(settings, "output", placeholder=placeholder(common.output_of(context.scene)))
        if common.live_avatar_of(common.directory_of(context.scene)) is not None:
            column.prop(settings, "go_on_live")
        text = "Continue Training" if train.continues(context.scene) else ""
        text = text or ("Continue Offline" if train.goes_on(context.scene) else "")
        step(context, column, "train", "blendsplat.train", "SHADING_RENDERED", text)
        if job is not None and preview.icon(job.number):
            column.template_icon(icon_value=preview.icon(job.number), scale=10.0)
            column.operator("blendsplat.show_picture", icon="FULLSCREEN_ENTER").kind = "TRAINING"
        if job is not None and job.running:
            if line := avatar_quality.so_far(job.figures):
                column.label(text=line, icon="BLANK1")
        elif settings.quality:
            column.prop(settings, "quality", emboss=False)
            _measured(context, column)
        if line := train.cost_line(job):
            paragraph(context, column, line, "INFO")


def _measured(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """The button that measures the trained avatar, and in words what it found."""
    told = avatar_quality.parts(measure_avatar.measured(context.scene))
    step(context, column, "evaluate", "blendsplat.measure_avatar", "VIEWZOOM", "Measure Again" if told else "")
    for sentence in told:
        paragraph(context, column, sentence, "BLANK1")
    if told:
        column.operator("blendsplat.show_measured", icon="IMAGE_DATA")


CLASSES = (BLENDSPLAT_PT_train,)
