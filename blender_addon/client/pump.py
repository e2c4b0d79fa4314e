# SPDX-License-Identifier: GPL-3.0-or-later
"""The one timer on Blender's main thread: what the engine's threads left is taken in, panels are drawn again.

Whoever waits for something adds a step, whoever is seen in a panel says what it shows. Only the main thread touches
Blender data. In background, and while an operator runs, timers do not fire: there ``until`` takes the turns itself.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

import bpy

SOON, LATER = 0.05, 1.0  # seconds until the next turn: work is on its way; only the engine's heartbeat
_BUDGET = 0.02  # seconds of one turn, so that Blender stays smooth

_steps: list[Callable[[float], float | None]] = []
_shown: list[Callable[[], Any]] = []
_drawn: Any = None
_draining = 0


def add_step(step: Callable[[float], float | None]) -> None:
    """``step(end)`` is called every turn and works until the monotonic time ``end`` at most; it returns the seconds
    until it wants the next turn, None when it waits for nothing."""
    if step not in _steps:
        _steps.append(step)


def shows(seen: Callable[[], Any]) -> None:
    """Panels are drawn again whenever ``seen()`` returns something else."""
    if seen not in _shown:
        _shown.append(seen)


def synchronous() -> bool:
    """No timer will fire before the caller returns: whoever asks has to wait for the answer with ``until``."""
    return bpy.app.background or _draining > 0


def wake() -> None:
    """Make sure that the timer runs; it ends by itself when no step waits for anything."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_timer):
        bpy.app.timers.register(_timer, first_interval=SOON, persistent=True)


def turn(budget: float = _BUDGET) -> float | None:
    """Let every step work for ``budget`` seconds together -> seconds until the next turn; None: nothing to wait for."""
    end, wanted = time.monotonic() + budget, []
    for step in list(_steps):
        try:
            wanted.append(step(end))
        except Exception:  # one result that cannot be shown must not end the engine's others
            traceback.print_exc()
    _redraw_changes()
    return min((seconds for seconds in wanted if seconds is not None), default=None)


def until(condition: Callable[[], bool], tick: Callable[[], None] = lambda: None) -> None:
    """Take turns until ``condition()`` holds, calling ``tick`` after each: for background and for scripts."""
    global _draining
    _draining += 1
    try:
        while not condition():
            turn(budget=0.2)
            tick()
            time.sleep(0.005)
    finally:
        _draining -= 1


def redraw() -> None:
    """Draw the panels and the preferences again."""
    if bpy.app.background:
        return
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "PREFERENCES"):
                area.tag_redraw()


def unregister() -> None:
    if bpy.app.timers.is_registered(_timer):
        bpy.app.timers.unregister(_timer)


def _timer() -> float | None:
    return turn()


def _redraw_changes() -> None:
    global _drawn
    seen = [function() for function in _shown]
    if seen != _drawn:
        _drawn = seen
        redraw()
