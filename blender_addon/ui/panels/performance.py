# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the step Avatar that plays performances: where from, how, on trial or for good, with its sound."""

from __future__ import annotations

import bpy

from ...scene import preview_performance
from .. import acting
from ..operators import avatar, common, performances
from .job_button import button, step
from .layout import column_of, paragraph, section


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
    row = column.row(align=True)
    row.operator("blendsplat.preview_performance", icon="PLAY", text="Preview Again" if on_trial else "Preview")
    if on_trial:
        row.operator("blendsplat.end_preview", icon="X", text="")
        paragraph(context, column, "A performance is played on trial: apply it, or end the preview.", "INFO")
    _told(context, column, "blendsplat.preview_performance")
    button(context, column, "blendsplat.apply_performance", "KEY_HLT")
    if performances.is_reading(scene):
        step(context, column, performances.KIND, "blendsplat.read_performance", "IMPORT")
    if carrier is None:
        return
    if last := performances.beyond(scene, carrier):
        paragraph(context, column, f"The performance ends in frame {last}, the scene in {scene.frame_end}.", "INFO")
        column.operator("blendsplat.extend_range", text=f"Extend the Scene to {last}", icon="PREVIEW_RANGE")
    if sentence := performances.rate_sentence(scene, carrier):
        paragraph(context, column, sentence, "INFO")
    if settings.source == acting.FILE:
        button(context, column, "blendsplat.add_performance_sound", "SOUND")


def _told(context: bpy.types.Context, column: bpy.types.UILayout, operator: str) -> None:
    """Why a button did nothing when it was pressed last."""
    if sentence := common.problem(context.scene, operator):
        paragraph(context, column, sentence, "ERROR")
