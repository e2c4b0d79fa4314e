# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: the expression library is made and used as an artist does, by clicks in
the Asset Browser and in the shelf below the view.

blender --factory-startup --python faces_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import FOLDER, MODULE, OPTIONS, install, note, run, screenshot, until, view


def face() -> dict[str, float]:
    """The sliders that are not at rest."""
    carrier = next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR")
    keys = carrier.blendsplat.head.data.shape_keys.key_blocks
    return {key.name: round(key.value, 3) for key in keys[1:] if key.value and not key.name.startswith("corrective")}


def click(x: int, y: int, times: int = 1) -> None:
    """At a place in the window, counted as Blender does, from below."""
    place = [str(x), str(bpy.context.window_manager.windows[0].height - y)]
    words = ["click", "--repeat", str(times), "--delay", "60", "1"]
    subprocess.run(["xdotool", "mousemove", *place, *words], timeout=30, check=False)


def steps() -> Iterator[float]:
    yield from install()
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", OPTIONS["engine"]
    scene = bpy.context.scene
    scene.blendsplat.avatar_file = OPTIONS["avatar"]
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "shot.blend"))
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.add_avatar()
        bpy.ops.blendsplat.make_expression_library("EXEC_DEFAULT")
    pictures = sys.modules[f"{MODULE}.ui.face_pictures"]
    turns = 0
    while not pictures.latest(scene).ended:
        turns += 1
        yield 0.02
    faces = [action for action in bpy.data.actions if action.asset_data is not None]
    drawn = sum(action.preview is not None and tuple(action.preview.image_size) == (256, 256) for action in faces)
    note("library", turns=turns, faces=len(faces), drawn=drawn, sentence=pictures.latest(scene).sentence)
    yield from browser()
    yield from shelf()


def browser() -> Iterator[float]:
    window = bpy.context.window_manager.windows[0]
    with bpy.context.temp_override(**view()):
        bpy.ops.screen.area_split(direction="HORIZONTAL", factor=0.45)
    yield 0.5
    area = min((area for area in window.screen.areas if area.type == "VIEW_3D"), key=lambda area: area.y)
    area.ui_type = "ASSETS"
    yield 1.0
    area.spaces.active.params.asset_library_reference = "LOCAL"
    yield 2.0
    region = next(region for region in area.regions if region.type == "WINDOW")
    click(region.x + 50, region.y + region.height - 60, times=2)
    yield 1.0
    yield from screenshot("faces-1-browser")
    note("browser", face=face())


def shelf() -> Iterator[float]:
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    area.spaces.active.show_region_asset_shelf = True
    yield from until(lambda: _shelf(area) is not None, 10)
    yield 1.0
    region = _shelf(area)
    click(region.x + 160, region.y + region.height // 2)
    yield 1.0
    yield from screenshot("faces-2-shelf")
    note("shelf", face=face())


def _shelf(area: bpy.types.Area) -> bpy.types.Region | None:
    return next((region for region in area.regions if region.type == "ASSET_SHELF" and region.height > 10), None)


run(steps())
