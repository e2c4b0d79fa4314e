# SPDX-License-Identifier: GPL-3.0-or-later
"""Live Capture: where the pictures come from; while it runs, what it sees, what it has learned and what is wrong."""

from __future__ import annotations

import bpy

from ...client import jobs, preview, session
from .. import live_sources, live_words
from ..operators import common, drive_live, live, live_results, train
from .job_button import button, on_its_way, step
from .layout import StepPanel, column_of, paragraph, placeholder


class BLENDSPLAT_PT_live(StepPanel):
    bl_label = "Live Capture"
    bl_order = 2
    step = "live"

    def summary(self, context: bpy.types.Context) -> str:
        job = live_results.running(context.scene)
        return jobs.duration(job.figures.get("seconds", 0.0)) if job is not None else ""

    def body(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        column, job = column_of(layout), live_results.running(context.scene)
        if job is not None:
            _running(context, column, job)
            return
        _settings(context, column)
        step(context, column, "live", "blendsplat.start_live", "RADIOBUT_ON")
        on_its_way(context, column, live_results.TOPIC, "live", "Fetching the head...")
        _afterwards(context, column)


def _settings(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    settings = context.scene.blendsplat.live
    column.prop(settings, "source")
    if settings.source == "CAMERA":
        row = column.row(align=True)
        row.prop(settings, "camera")
        row.operator("blendsplat.find_cameras", text="", icon="FILE_REFRESH")
        on_its_way(context, column, live_sources.TOPIC, "live", "Looking for cameras...")
        if live_sources.known() == []:
            where = " of the engine's machine" if session.elsewhere() else ""
            paragraph(context, column, f"No camera{where} was found: plug one in, then look again.", "INFO")
    elif settings.source == "STREAM":
        column.prop(settings, "address")
    else:
        column.prop(settings, "video")
    column.prop(settings, "mirror")
    column.prop(settings, "drive")
    if settings.drive is not None:
        column.prop(settings, "learn")
    column.prop(settings, "seconds")
    column.prop(settings, "preset")
    column.prop(settings, "takes", placeholder=placeholder(live.takes_folder(context.scene)))
    column.prop(settings, "film")


def _running(context: bpy.types.Context, column: bpy.types.UILayout, job: jobs.Job) -> None:
    """What a capture sees and has learned, and the buttons that end it."""
    row = column.row(align=True)
    paused = bool(job.context.get("paused"))
    row.operator("blendsplat.pause_live", text="Go On" if paused else "Pause", icon="PLAY" if paused else "PAUSE")
    row.operator("blendsplat.stop_live", icon="SNAP_FACE")
    if job.state != "running":
        column.label(text=job.status(), icon="TIME")
    elif live_results.is_ending(job):
        column.label(text="Saving the avatar and the take...", icon="TIME")
    else:
        sentence, wrong = live_words.situation(job.message)
        if sentence:
            paragraph(context, column, sentence, "ERROR" if wrong else "INFO")
    if preview.icon(job.number):
        column.template_icon(icon_value=preview.icon(job.number), scale=10.0)
    if job.params.get("drive"):
        _driving(context, column, job)
    row = column.row(align=True)
    row.operator("blendsplat.show_picture", text="Open Preview", icon="FULLSCREEN_ENTER").kind = "LIVE"
    row.operator("blendsplat.look_at_live", text="Look at It", icon="VIEWZOOM")
    lines = column.column(align=True)
    for name, said in live_words.statistics(job.done, job.figures):
        line = lines.split(factor=0.4)
        aside = line.row()
        aside.alignment = "RIGHT"
        aside.label(text=name)
        line.label(text=said)
    settings = context.scene.blendsplat.live
    if settings.quality:
        lines.prop(settings, "quality", emboss=False)


def _driving(context: bpy.types.Context, column: bpy.types.UILayout, job: jobs.Job) -> None:
    """Which avatar is driven, and from which resting face."""
    column.prop(context.scene.blendsplat.live, "drive")
    if sentence := drive_live.problem(job):
        paragraph(context, column, sentence, "ERROR")
    elif drive_live.learns_rest(job):
        paragraph(context, column, "Rest your face for a moment: what you do is counted from there.", "INFO")
    column.operator("blendsplat.take_rest", icon="USER")


def _afterwards(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """What can be done with the take that was captured last."""
    scene = context.scene
    take, directory = common.path_of(scene.blendsplat.live.take), common.directory_of(scene)
    if common.is_broken_off(directory):
        sentence = "This take was broken off, and what was seen until then is kept: Track Head makes a clip of it."
        paragraph(context, column, sentence, "INFO")
    if take is not None and take != directory and (take / "clip.json").is_file():
        button(context, column, "blendsplat.add_take", "IMPORT")
    if train.goes_on(scene):
        button(context, column, "blendsplat.continue_offline", "SHADING_RENDERED")


CLASSES = (BLENDSPLAT_PT_live,)
