# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the step Avatar that plays performances: where from, how, on trial or for good, with its sound."""

from __future__ import annotations

import bpy

from ...scene import preview_performance
from .. import acting
from ..operators import avatar, common, performances, results
from .job_button import button
from .layout import column_of, paragraph, progress, section


def draw(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    """Rows of the panel whose own layout this is."""
    column, scene = column_of(layout), context.scene
    settings, carrier = scene.blendsplat.acting, avatar.selected_avatar(context)
    column.prop(settings, "source", expand=True)
    if settings.source == acting.OBJECT:
        column.prop(settings, "item")
    else:
        column.prop(scene.blendsplat, "performance")
    column.prop(scene.blendsplat, "performance_start")
    if (part := section(layout, "acting", "How It Is Played", closed=True)) is not None:
        acting.draw(column_of(part), scene)
        if settings.source == acting.FILE:
            column_of(part).prop(settings, "rate")
    column = column_of(layout)
    on_trial = carrier is not None and preview_performance.running(carrier)
    on_trial = on_trial and not performances.is_driven(scene, carrier)
    row = column.row(align=True)
    row.operator("blendsplat.preview_performance", icon="PLAY", text="Preview Again" if on_trial else "Preview")
    if on_trial:
        row.operator("blendsplat.end_preview", icon="X", text="")
        paragraph(context, column, "A performance is played on trial: apply it, or end the preview.", "INFO")
    _told(context, column, "blendsplat.preview_performance")
    button(context, column, "blendsplat.apply_performance", "KEY_HLT")
    _reading(context, column)
    if carrier is None:
        return
    if last := performances.beyond(scene, carrier):
        paragraph(context, column, f"The performance ends in frame {last}, the scene in {scene.frame_end}.", "INFO")
        column.operator("blendsplat.extend_range", text=f"Extend the Scene to {last}", icon="PREVIEW_RANGE")
    if sentence := performances.rate_sentence(scene, carrier):
        paragraph(context, column, sentence, "INFO")
    if settings.source == acting.FILE:
        button(context, column, "blendsplat.add_performance_sound", "SOUND")


def _reading(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """How far the engine is with a capture, why it could not read it, and what it had to guess."""
    for offer in results.offers(context.scene, performances.KIND):
        column.operator("blendsplat.add_result", text=f"New Result: {offer.title}", icon="IMPORT").kind = offer.kind
    job = common.job_of(context.scene, performances.KIND)
    if job is None:
        return
    if job.running:
        progress(column, job.fraction, job.status())
        column.operator("blendsplat.cancel_job", icon="X").kind = performances.KIND
    elif job.state == "failed":
        paragraph(context, column, job.error, "ERROR")
        row = column.row(align=True)
        row.operator("blendsplat.show_details", icon="INFO").kind = performances.KIND
        row.operator("blendsplat.engine_log", text="Log", icon="TEXT")
    elif job.state == "done" and job.context.get("source") == performances.chosen(context.scene):
        for remark in job.remarks:
            paragraph(context, column, remark, "INFO")


def _told(context: bpy.types.Context, column: bpy.types.UILayout, operator: str) -> None:
    """Why a button did nothing when it was pressed last."""
    if sentence := common.problem(context.scene, operator):
        paragraph(context, column, sentence, "ERROR")
