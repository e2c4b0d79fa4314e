# SPDX-License-Identifier: GPL-3.0-or-later
"""Editors that show something at the artist's wish: in this window, or in a window of their own."""

from __future__ import annotations

import time

import bpy

from ...client import pump

_DRAWN = 0.3  # seconds after which a new window has its size
_waiting: list[tuple[float, str, int, int]] = []  # (when, Area.type, the window's pointer, number of its area)


def editor(context: bpy.types.Context, kind: str, *, new: bool = False) -> bpy.types.Area | None:
    """An editor of this type (as Area.type) in this window, else, or when it has to be ``new``, in a new window; it
    shows all of its content as soon as it is drawn. None in background."""
    if context.window is None or context.screen is None:
        return None
    area = next((area for area in context.screen.areas if area.type == kind and not new), None)
    if area is not None:
        _show_whole(context.window, area)
        return area
    if bpy.app.background:
        return None
    before = {window.as_pointer() for window in context.window_manager.windows}
    bpy.ops.wm.window_new()
    window = next(w for w in context.window_manager.windows if w.as_pointer() not in before)
    area = window.screen.areas[0]
    area.type = kind
    _show_whole(window, area)
    return area


def _show_whole(window: bpy.types.Window, area: bpy.types.Area) -> None:
    if not bpy.app.background:
        number = list(window.screen.areas).index(area)
        _waiting.append((time.monotonic() + _DRAWN, area.type, window.as_pointer(), number))
        pump.wake()


def _step(_end: float) -> float | None:
    """Let editors that have been drawn by now show all that is in them."""
    due = [item for item in _waiting if item[0] <= time.monotonic()]
    for item in due:
        _waiting.remove(item)
        _view_all(*item[1:])
    return pump.SOON if _waiting else None


def _view_all(kind: str, pointer: int, number: int) -> None:
    window = next((w for w in bpy.context.window_manager.windows if w.as_pointer() == pointer), None)
    areas = list(window.screen.areas) if window is not None else []
    if number >= len(areas) or areas[number].type != kind:
        return  # it was closed, or shows something else
    region = next(region for region in areas[number].regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=areas[number], region=region):
        if kind == "GRAPH_EDITOR":
            bpy.ops.graph.view_all()
        elif kind == "IMAGE_EDITOR":
            bpy.ops.image.view_all(fit_view=True)


def register() -> None:
    pump.add_step(_step)


def unregister() -> None:
    _waiting.clear()
