# SPDX-License-Identifier: GPL-3.0-or-later
"""A step's button, or how far its job is; results that wait to be added; what the engine has not answered yet."""

from __future__ import annotations

from pathlib import Path

import bpy

from ...client import jobs
from ..operators import common, results
from .layout import paragraph, progress


def button(context: bpy.types.Context, column: bpy.types.UILayout, operator: str, icon: str, text: str = "") -> None:
    """A button (called ``text``, else as its operator), and why it did nothing when it was pressed last."""
    column.operator(operator, icon=icon, **({"text": text} if text else {}))
    if sentence := common.problem(context.scene, operator):
        paragraph(context, column, sentence, "ERROR")


def step(
    context: bpy.types.Context, column: bpy.types.UILayout, kind: str, operator: str, icon: str, text: str = ""
) -> None:
    """A step's button (called ``text``, else as its operator), or its progress while it runs; its last error or remarks
    in words."""
    for offer in results.offers(context.scene, kind):
        column.operator("blendsplat.add_result", text=f"New Result: {offer.title}", icon="IMPORT").kind = kind
    if (other := jobs.latest(kind)) is not None and other.running and not common.belongs(other, context.scene):
        button(context, column, operator, icon, text)
        paragraph(
            context, column, f"{common.title_of(other)} is running for {_home(other)}: {other.fraction:.0%}", "TIME"
        )
        column.operator("blendsplat.cancel_job", icon="X").kind = kind
        return
    job = common.job_of(context.scene, kind)
    if job is not None and job.running:
        progress(column, job.fraction, job.status())
        column.operator("blendsplat.cancel_job", icon="X").kind = kind
        return
    button(context, column, operator, icon, text)
    if job is not None and job.state == "failed":
        paragraph(context, column, job.error, "ERROR")
        row = column.row(align=True)
        row.operator("blendsplat.show_details", icon="INFO").kind = kind
        row.operator("blendsplat.engine_log", text="Log", icon="TEXT")
    elif job is not None and job.state == "cancelled":
        paragraph(context, column, job.status(), "INFO")
    elif job is not None and job.state == "done":
        for remark in job.remarks:
            paragraph(context, column, remark, "INFO")


def _home(job: jobs.Job) -> str:
    """What a job of another scene works on, as an artist calls it."""
    place = job.context.get("place")
    directory = job.params.get("directory")
    if directory and job.kind != "fit_image":  # that one's is where heads are kept
        return f'the clip "{common.clip_name(Path(str(directory)))}"'
    return f"the file {Path(place.blend).name}" if place is not None and place.blend else "another file"


def on_its_way(context: bpy.types.Context, column: bpy.types.UILayout, topic: str, kind: str, words: str) -> None:
    """A line while the engine is asked for something, and why it did not come; a job of ``kind`` that asked for it
    shows that itself."""
    errand, job = common.errand_of(context.scene, topic), common.job_of(context.scene, kind)
    if errand is None or (job is not None and errand in job.errands):
        return
    if errand.waiting:
        column.label(text=words, icon="TIME")
    elif errand.error:
        paragraph(context, column, errand.error, "ERROR")
        column.operator("blendsplat.engine_log", text="Log", icon="TEXT")
