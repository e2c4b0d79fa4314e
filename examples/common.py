# SPDX-License-Identifier: GPL-3.0-or-later
"""What the example scripts share: finding the extension, reading their own words, ending with a status that farms read.

A script runs in Blender (``blender -b --python examples/NAME.py -- WORDS``), with the extension installed, or in a
Python with the module bpy (``python examples/NAME.py WORDS``), beside this repository's folder blender_addon.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import bpy


def load_extension(engine: str = "") -> ModuleType:
    """The extension as a Python module: the installed one, else the folder beside this one, in an empty scene.

    engine: the command that starts the engine, where it is another than the preferences say.
    """
    names = [entry.module for entry in bpy.context.preferences.addons]
    installed = next((name for name in names if name.rsplit(".", 1)[-1] == "blendsplat"), None)
    if installed is not None:
        extension = importlib.import_module(installed)
    else:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        bpy.ops.wm.read_factory_settings(use_empty=True)
        extension = importlib.import_module("blender_addon")
        extension.register()
    if engine:
        extension.client.session.engine_command = lambda: shlex.split(engine)
    return extension


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the words that all examples take."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--engine", default="", help="the command that starts the engine, as in the preferences")
    return made


def words() -> list[str]:
    """The script's own words: those behind ``--`` where Blender runs it."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]


def the_avatar(name: str = "") -> bpy.types.Object:
    """The avatar of this name; without one, the scene's only one. Raises RuntimeError."""
    found = [item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR"]
    if name:
        found = [item for item in found if item.name == name]
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} avatars fit{f' the name {name!r}' if name else ''}: say which one.")
    bpy.context.view_layer.objects.active = found[0]
    return found[0]


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows as aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def run(main: Callable[[], int]) -> None:
    """Run a script and end Blender with its status: 0 when all went well, 1 with the error as the last line else."""
    try:
        status = main()
    except Exception as failure:
        traceback.print_exc()
        print(f"{Path(sys.argv[0]).name}: {failure}", file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if not bpy.app.binary_path:
        os._exit(status)  # the module bpy can hang while it is torn down with render engines registered
    sys.exit(status)
