# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: an avatar is clicked, moved, duplicated, and undone; and a file that an
earlier version saved is opened and brought up to date.

blender --factory-startup --python place_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import OPTIONS, addon, install, note, run, screenshot, view


def centres() -> dict[str, list[float]]:
    """Where the avatars' Gaussians are, on average."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    gather = addon().render.gather
    return {
        item.name: (
            gather.transformed(gather.read(item.evaluated_get(depsgraph).data), matrix(item)).means.mean(0).tolist()
        )
        for item in bpy.context.scene.objects
        if item.blendsplat.kind == "AVATAR"
    }


def matrix(item: bpy.types.Object):
    import numpy as np

    return np.array(item.matrix_world)


def click(x: float, y: float) -> list[str]:
    """A real click in the 3D view, by parts of its width and height from the middle -> what is selected then."""
    region = view()["region"]
    window = bpy.context.window_manager.windows[0]
    across = region.x + region.width * (0.5 + x)
    up = region.y + region.height * (0.5 + y)
    place = [str(round(across)), str(round(window.height - up))]
    subprocess.run(["xdotool", "mousemove", *place, "sleep", "0.3", "click", "1"], timeout=30, check=False)
    yield 1.0
    return sorted(item.name for item in bpy.context.view_layer.objects if item.select_get())


def front() -> None:
    """Look at the avatars from the front, with room around them."""
    region = view()["area"].spaces.active.region_3d
    region.view_perspective, region.view_rotation = "ORTHO", (0.7071068, 0.7071068, 0.0, 0.0)
    region.view_location, region.view_distance = (0, 0, 0), 0.6


def steps() -> Iterator[float]:
    yield from install()
    scene = bpy.context.scene
    scene.blendsplat.avatar_file, scene.blendsplat.performance = OPTIONS["avatar"], OPTIONS["performance"]
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.add_avatar()
        bpy.ops.object.select_all(action="DESELECT")
        bpy.ops.ed.undo_push(message="Add Avatar")
    front()
    yield 1.0
    for shading in ("SOLID", "MATERIAL"):
        view()["area"].spaces.active.shading.type = shading
        yield 1.0
        selected = yield from click(-0.02, 0.06)
        yield from screenshot(f"place-1-clicked-{shading.lower()}")
        note("clicked", shading=shading, selected=selected)
        beside = yield from click(-0.4, 0.35)
        note("beside", shading=shading, selected=beside)
    yield from moved()
    yield from earlier()


def moved() -> Iterator[float]:
    carrier = next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR")
    handle = addon().scene.avatar_rig.handle_of(carrier)
    before = centres()
    for name, item in (("carrier", carrier), ("handle", handle)):
        with bpy.context.temp_override(**view()):
            bpy.ops.object.select_all(action="DESELECT")
            item.select_set(True)
            bpy.context.view_layer.objects.active = item
            bpy.ops.transform.translate(value=(0.1, 0.0, 0.05))
        yield 0.5
        note(name, before=before, after=centres())
        with bpy.context.temp_override(**view()):
            bpy.ops.ed.undo_push(message=name)
            bpy.ops.ed.undo()
        yield 0.5
        carrier = next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR")
        handle = addon().scene.avatar_rig.handle_of(carrier)
    with bpy.context.temp_override(**view()):
        bpy.ops.object.select_all(action="DESELECT")
        carrier.select_set(True)
        bpy.context.view_layer.objects.active = carrier
        bpy.ops.object.duplicate_move(TRANSFORM_OT_translate={"value": (0.15, 0.0, 0.0)})
    yield from screenshot("place-2-duplicated")
    note("duplicated", before=before, after=centres())


def earlier() -> Iterator[float]:
    bpy.ops.wm.open_mainfile(filepath=OPTIONS["earlier"])
    yield 1.0
    before = centres()
    with bpy.context.temp_override(**view()):
        bpy.context.scene.blendsplat.avatar_file = "//ann.avatar.npz"
        bpy.ops.blendsplat.add_avatar()
    yield 0.5
    carrier = bpy.data.objects["Ann"]
    front()
    note("earlier", before=before, after=centres(), edges=len(carrier.data.edges))
    yield from screenshot("place-3-earlier")


run(steps())
