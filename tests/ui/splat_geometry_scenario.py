# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: an avatar's splats become faces; EEVEE and Cycles render them.

blender --factory-startup --python splat_geometry_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from window import FOLDER, OPTIONS, camera_view, install, note, run, screenshot, until, view

EEVEE = "BLENDER_EEVEE" if bpy.app.version >= (5, 0) else "BLENDER_EEVEE_NEXT"


def modifiers() -> list[str]:
    return [item.name for item in bpy.context.scene.objects[OPTIONS["name"]].modifiers]


def steps() -> Iterator[float]:
    yield from install()
    scene = bpy.context.scene
    scene.blendsplat.avatar_file, scene.blendsplat.performance = OPTIONS["avatar"], OPTIONS["performance"]
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.add_avatar()
        bpy.ops.ed.undo_push(message="Add Avatar")
    scene.frame_set(OPTIONS["frame"])
    camera_view()
    yield 0.5
    subprocess.run(["xdotool", "mousemove", "500", "400"], timeout=30, check=False)
    yield 0.5
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.splat_geometry("INVOKE_DEFAULT")
    yield from screenshot("geometry-1-dialog")
    subprocess.run(["xdotool", "key", "Return"], timeout=30, check=False)
    yield from until(lambda: len(modifiers()) == 2, 20)
    note("added", modifiers=modifiers())
    yield from screenshot("geometry-2-panel")
    with bpy.context.temp_override(**view()):
        bpy.ops.ed.undo()
    yield 0.5
    scene = bpy.context.scene  # another one since the undo
    note("undone", modifiers=modifiers())
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.splat_geometry(in_viewport=True)
    view()["area"].spaces.active.shading.type = "RENDERED"
    scene.render.engine = EEVEE
    yield 2.0
    yield from screenshot("geometry-3-eevee")
    with bpy.context.temp_override(**view()):
        made = bpy.ops.blendsplat.bake_frame()
    note("baked", made=list(made), name=scene.objects[-1].name, faces=len(scene.objects[-1].data.polygons))
    bpy.data.objects.remove(scene.objects[-1])
    for look in ("AS_TRAINED", "UNLIT"):
        with bpy.context.temp_override(**view()):
            bpy.ops.blendsplat.splat_geometry(look=look, in_viewport=False)
        compare(look)
        yield 0.2


def compare(look: str) -> None:
    """The same frame by EEVEE and by Cycles, both in 1/255 of display values over black."""
    scene = bpy.context.scene
    scene.render.resolution_x = scene.render.resolution_y = OPTIONS["size"]
    pictures = {}
    for engine in (EEVEE, "CYCLES"):
        scene.render.engine = engine
        scene.eevee.taa_render_samples = scene.cycles.samples = 16
        scene.cycles.use_denoising = False
        pictures[engine] = picture(FOLDER / f"geometry-{look}-{engine}.png") * 255
    error = np.abs(pictures[EEVEE] - pictures["CYCLES"])[pictures["CYCLES"][..., 3] > 128]
    note(
        "compared", look=look, pixels=len(error), mean=float(error.mean()), most=float(np.percentile(error, 95)),
        bright=float(pictures["CYCLES"][..., :3].max()),
    )  # fmt: skip


def picture(path: Path) -> np.ndarray:
    """The present frame over nothing [H,W,4], premultiplied."""
    scene = bpy.context.scene
    scene.render.film_transparent, scene.render.dither_intensity = True, 0
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    found = np.array(image.pixels[:], np.float32).reshape(image.size[1], image.size[0], 4)
    found[..., :3] *= found[..., 3:]
    return found


run(steps())
