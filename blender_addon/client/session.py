# SPDX-License-Identifier: GPL-3.0-or-later
"""The one connection to the engine that this Blender has, shared by panels, operators and the render engine.

It lives in this module, not in the scene: loading another file or undoing must not lose a running engine.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .. import preferences
from .link import EngineError, Link, LinkError

link = Link()
_FALLBACK_PRESETS = [("draft", "Draft", "Small and quick: to see whether the clip works")]
_preset_items: list[tuple[str, str, str]] = list(_FALLBACK_PRESETS)


def log_path() -> Path:
    """The engine's log of this Blender session."""
    return preferences.user_directory() / "engine.log"


def engine_command() -> list[str]:
    """The words that start the engine; [] when there is none yet. Raises LinkError for unbalanced quotes."""
    prefs = preferences.get()
    if prefs.engine_kind == "INSTALLED":
        return preferences.installed_command()
    try:
        words = shlex.split(prefs.engine_command, posix=sys.platform != "win32")
    except ValueError as error:
        raise LinkError(f"The engine command has unbalanced quotes ({error}).") from error
    return [word.strip('"') for word in words] if sys.platform == "win32" else words


_subscribers: list[Callable[[], None]] = []


def on_start(function: Callable[[], None]) -> None:
    """``function()`` is called whenever the engine was started: who follows it has work again."""
    if function not in _subscribers:
        _subscribers.append(function)


def start(*, patient: bool = True) -> None:
    """Start the engine if it is not running. Raises LinkError."""
    link.start(engine_command(), log_path(), patient=patient)
    for function in _subscribers:
        function()


def ready(timeout: float = 120.0, stop: Callable[[], bool] = lambda: False, *, patient: bool = True) -> Link:
    """A connection that has said hello, waiting for it if need be. Raises LinkError."""
    if link.state != "ready":
        start(patient=patient)
        link.wait_ready(timeout, stop)
    return link


def call(method: str, params: dict[str, Any], timeout: float = 60.0) -> tuple[Any, dict[str, np.ndarray]]:
    """Ask the engine and wait for the answer: for short questions only. Raises LinkError, EngineError."""
    return ready().request(method, params).wait(timeout)


def preset_items() -> list[tuple[str, str, str]]:
    """The engine's training presets as enum items. The list is kept alive here, as Blender needs it to be."""
    global _preset_items
    presets = link.hello.get("presets") or []
    items = [
        (str(p["name"]), str(p.get("title") or p["name"]), str(p.get("description", "")))
        for p in presets
        if "name" in p
    ]
    if items and items != _preset_items:
        _preset_items = items
    return _preset_items


def device() -> str:
    """The device to train and render on: the preferences' wish, else the engine's best."""
    return preferences.get().device.strip() or "auto"


def engine_path(path: str | Path) -> str:
    """A path of this machine as the engine's machine knows it (for an engine behind ssh with shared folders)."""
    text = bpy.path.abspath(str(path))
    prefs = preferences.get()
    here, there = prefs.path_here.rstrip("/\\"), prefs.path_there.rstrip("/\\")
    if (
        prefs.engine_kind == "COMMAND"
        and here
        and there
        and (text == here or text.startswith((here + "/", here + "\\")))
    ):
        return there + text[len(here) :].replace("\\", "/")
    return text


def local_path(path: str | Path) -> Path:
    """The reverse of ``engine_path``: a path that the engine told, on this machine."""
    text, prefs = str(path), preferences.get()
    here, there = prefs.path_here.rstrip("/\\"), prefs.path_there.rstrip("/\\")
    if prefs.engine_kind == "COMMAND" and here and there and (text == there or text.startswith(there + "/")):
        text = here + text[len(there) :]
    return Path(text)


def weights() -> str:
    """The face network's weights as jobs take them: "auto", "none", or a folder on the engine's machine."""
    prefs = preferences.get()
    if prefs.network == "FOLDER":
        return engine_path(prefs.weights.strip()) if prefs.weights.strip() else ""
    return "none" if prefs.network == "NONE" else "auto"


def sentence_of(error: Exception) -> str:
    """One sentence for a report or a panel."""
    return error.sentence if isinstance(error, EngineError) else str(error)


def stop() -> None:
    """End the engine (when the add-on is disabled)."""
    link.stop()
