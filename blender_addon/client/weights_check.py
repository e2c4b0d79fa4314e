# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine says of the chosen network weights: asked for by a button, kept, and shown without waiting.

Drawing never asks; a timer looks whether the answer is there.
"""

from __future__ import annotations

import time
from typing import Any

import bpy

from . import session
from .link import EngineError, LinkError, Pending

_SECONDS = 150.0  # the engine's start included

_asked: str | None = None  # the weights that the question, and then the answer, is about
_pending: Pending | None = None
_answer: dict[str, Any] | None = None
_error = ""
_deadline = 0.0


def check(weights: str) -> None:
    """Ask the engine about "auto", "none" or a folder; starts it when needed. Raises LinkError."""
    global _asked, _pending, _answer, _error, _deadline
    session.start(patient=False)
    _asked, _pending, _answer, _error = weights, None, None, ""
    _deadline = time.monotonic() + _SECONDS
    if bpy.app.background:
        while _poll() is not None:
            time.sleep(0.02)
    elif not bpy.app.timers.is_registered(_poll):
        bpy.app.timers.register(_poll, first_interval=0.1, persistent=True)


def waiting() -> bool:
    """The answer is on its way."""
    return _asked is not None and _answer is None and not _error


def answer(weights: str) -> dict[str, Any] | None:
    """What the engine said of these weights; None when it was not asked, or about others."""
    return _answer if _asked == weights else None


def lines(weights: str) -> list[tuple[str, str]]:
    """(sentence, icon) to show for these weights."""
    if _asked != weights:
        return [("Not checked yet.", "QUESTION")]
    if _error:
        return [(_error, "ERROR")]
    if _answer is None:
        return [("Checking...", "TIME")]
    shown = [(str(_answer.get("sentence", "")), "CHECKMARK" if _answer.get("usable") else "ERROR")]
    if _answer.get("licence"):
        shown.append((f"Licence: {_answer['licence']}", "INFO"))
    return shown


def _poll() -> float | None:
    """One look: send the question when the engine is up, take the answer. None when there is nothing to wait for."""
    global _pending, _answer, _error
    link = session.link
    try:
        if _pending is None and link.state == "ready":
            _pending = link.request("weights.describe", {"weights": _asked})
        elif _pending is not None and _pending.done:
            result, _ = _pending.result()
            _answer = result if isinstance(result, dict) else {}
        elif link.state in ("off", "failed"):
            _error = link.sentence or "The engine was stopped."
        elif time.monotonic() > _deadline:
            _error = "The engine did not answer; check again."
    except (LinkError, EngineError) as error:
        _error = session.sentence_of(error)
    if waiting():
        return 0.2
    for window in () if bpy.app.background else bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("PREFERENCES", "VIEW_3D"):
                area.tag_redraw()
    return None


def unregister() -> None:
    global _asked
    _asked = None
    if bpy.app.timers.is_registered(_poll):
        bpy.app.timers.unregister(_poll)
