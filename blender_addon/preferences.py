# SPDX-License-Identifier: GPL-3.0-or-later
"""What the artist set in the preferences, and where the add-on keeps the engine that it installs."""

from __future__ import annotations

import json
import sys
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

import bpy

PACKAGE = __package__


class _Defaults:
    """What holds when the add-on runs without being enabled (scripts, tests)."""

    engine_kind, engine_command, device, package_index = "INSTALLED", "", "", ""
    path_here = path_there = landmarker = weights = ""
    torch_index = certificate = python_mirror = ""
    torch = "AUTO"
    network = "AUTO"
    add_results = True


_defaults = _Defaults()


def get() -> Any:
    """The add-on's preferences."""
    addon = bpy.context.preferences.addons.get(PACKAGE)
    return addon.preferences if addon is not None and addon.preferences is not None else _defaults


def folder_pairs() -> list[tuple[str, str]]:
    """(here, there) of every folder that this machine and the engine's share, as far as both names are given."""
    prefs = get()
    pairs = [(item.here, item.there) for item in getattr(prefs, "folders", ())]
    pairs.append((prefs.path_here, prefs.path_there))  # of version 0.1.0, which knew one
    return [(here.strip(), there.strip()) for here, there in pairs if here.strip() and there.strip()]


@lru_cache(maxsize=1)
def version() -> str:
    """The add-on's own."""
    manifest = Path(__file__).with_name("blender_manifest.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(manifest)["version"])


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


def installed_engine() -> dict[str, Any]:
    """What the finished installation wrote of itself: version, python, torch, wheel; {} when there is none. Buttons ask
    this whenever they are drawn, so the file is read once."""
    path = environment_directory() / "complete.json"
    try:
        report = _report(path, path.stat().st_mtime_ns)
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) and environment_python().exists() else {}


@lru_cache(maxsize=2)
def _report(path: Path, _changed: int) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def installed_command() -> list[str]:
    """The words that start the installed engine; [] when there is none. -I: Blender's PYTHONPATH is not its own."""
    return [str(environment_python()), "-I", "-m", "blendsplat", "serve"] if installed_engine() else []
