# SPDX-License-Identifier: GPL-3.0-or-later
"""The card before training: from which sides the clip shows the head, how far sliders went, what will be guesses."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import bpy

from ... import formats
from ...client import preview
from ...scene import coverage
from .layout import paragraph

_PICTURE = -1  # its number among the pictures of jobs, which count from 1
_pictured: coverage.Coverage | None = None


def card(context: bpy.types.Context, column: bpy.types.UILayout, told: coverage.Coverage) -> None:
    """What a clip shows, as a picture and in words."""
    box = column.box()
    if icon := _icon(told):
        row = box.row()
        row.alignment = "CENTER"
        row.template_icon(icon_value=icon, scale=7.0)
        sides = box.row()
        sides.active = False
        sides.label(text="Their right")
        aside = sides.row()
        aside.alignment = "RIGHT"
        aside.label(text="Their left")
    icons = iter(["HIDE_OFF"])
    for sentence in coverage.views(told):
        paragraph(context, box, sentence, next(icons, "BLANK1"))
    icons = iter(["SHAPEKEY_DATA"])
    for sentence in coverage.expressions(told):
        paragraph(context, box, sentence, next(icons, "BLANK1"))
    if sentence := coverage.advice(told):
        paragraph(context, box, sentence, "INFO")


def of_clip(folder: Path | None) -> coverage.Coverage | None:
    """What a tracked clip shows; None where it is not tracked. Panels ask this all the time, so a file is read once."""
    path = folder / "tracking.npz" if folder is not None else None
    try:
        return _of(path, path.stat().st_mtime_ns) if path is not None else None
    except OSError:
        return None


@lru_cache(maxsize=4)
def _of(path: Path, _changed: int) -> coverage.Coverage | None:
    try:
        return coverage.of(formats.read_performance(path))
    except formats.FileError:
        return None


def _icon(told: coverage.Coverage) -> int:
    global _pictured
    if told is not _pictured or not preview.icon(_PICTURE):
        preview.show(_PICTURE, coverage.picture(told))
        _pictured = told
    return preview.icon(_PICTURE)
