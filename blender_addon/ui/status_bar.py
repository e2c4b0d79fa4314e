# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs, how far it is and how long it still takes, in Blender's status bar: seen from every workspace."""

from __future__ import annotations

import bpy

from ..client import jobs, pump
from .operators import common

_drawn: list[str] = []


def running() -> list[jobs.Job]:
    """The jobs that run, one of a kind."""
    return [job for kind in jobs.TITLES if (job := jobs.latest(kind)) is not None and job.running]


def words(job: jobs.Job) -> str:
    """One job in a few words; of one whose end nobody knows, how long it has been running."""
    if job.total <= 0 and job.figures.get("seconds"):
        return f"{common.title_of(job)} {jobs.duration(job.figures['seconds'])}"
    left = f", {jobs.duration(job.eta)} left" if job.eta is not None and job.eta > 0 else ""
    return f"{common.title_of(job)} {job.fraction:.0%}{left}"


def _draw(header: bpy.types.Header, _context: bpy.types.Context) -> None:
    layout = header.layout
    for job in running():
        row = layout.row(align=True)
        row.ui_units_x = 13
        row.progress(factor=job.fraction, text=words(job))
        row.operator("blendsplat.cancel_job", text="", icon="X").kind = job.kind


def _step(_end: float) -> float | None:
    """Draw the bar again when it says something else; afterwards there is nothing of ours in it."""
    global _drawn
    seen = [words(job) for job in running()]
    if seen != _drawn:
        _drawn = seen
        _redraw()
    return None


def _redraw() -> None:
    """The status bar is no area of a screen, so it cannot be tagged: setting its text draws it. Not while a tool of the
    artist's has its own text there."""
    if bpy.app.background:
        return
    for window in bpy.context.window_manager.windows:
        if not len(window.modal_operators):
            with bpy.context.temp_override(window=window):
                bpy.context.workspace.status_text_set(None)


def register() -> None:
    bpy.types.STATUSBAR_HT_header.append(_draw)
    pump.add_step(_step)


def unregister() -> None:
    bpy.types.STATUSBAR_HT_header.remove(_draw)
    _drawn.clear()
