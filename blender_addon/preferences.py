# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist set in the preferences, and where the add-on keeps the engine that it installs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import bpy

PACKAGE = __package__


class _Defaults:
    """What holds when the add-on runs without being enabled (scripts, tests)."""

    engine_kind, engine_command, device, package_index = "INSTALLED", "", "", ""
    path_here = path_there = landmarker = weights = ""
    network = "AUTO"
    add_results = True


_defaults = _Defaults()


def get() -> Any:
    """The add-on's preferences."""
    addon = bpy.context.preferences.addons.get(PACKAGE)
    return addon.preferences if addon is not None and addon.preferences is not None else _defaults


def user_directory() -> Path:
    """The only folder that the add-on writes to by itself."""
    try:
        return Path(bpy.utils.extension_path_user(PACKAGE, create=True))
    except ValueError:  # not installed as an extension
        return Path(bpy.utils.user_resource("DATAFILES", path="blendsplat", create=True))


def environment_directory() -> Path:
    """The installed engine's own Python environment."""
    return user_directory() / "engine"


def environment_python() -> Path:
    """Its interpreter (which need not exist yet)."""
    folder = environment_directory()
    return folder / "Scripts" / "python.exe" if sys.platform == "win32" else folder / "bin" / "python"


def installed_command() -> list[str]:
    """The words that start the installed engine; [] when there is none. -I: Blender's PYTHONPATH is not its own."""
    python = environment_python()
    complete = environment_directory() / "complete.json"
    return [str(python), "-I", "-m", "blendsplat", "serve"] if python.exists() and complete.exists() else []
