# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: a tracked clip is looked at, judged and corrected as an artist does it.

blender --factory-startup --python check_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import MODULE, OPTIONS, addon, install, job_ends, note, run, screenshot, until, view


def head():  # type: ignore[no-untyped-def]
    return addon().ui.operators.check_tracking.meant_head(bpy.context)


def press(operator, **words: object) -> str:  # type: ignore[no-untyped-def]
    """Press a button; "" or the error that Blender shows."""
    with bpy.context.temp_override(**view()):
        try:
            operator(**words)
        except RuntimeError as error:
            return str(error).strip()
    return ""


def look() -> list[object]:
    """What of the view an artist would miss."""
    space = view()["area"].spaces.active
    return [space.shading.type, space.shading.color_type, space.region_3d.view_perspective, space.overlay.show_floor]


def steps() -> Iterator[float]:
    yield from install()
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", OPTIONS["engine"]
    bpy.context.scene.blendsplat.directory = OPTIONS["clip"]
    before = look()
    note("added", error=press(bpy.ops.blendsplat.add_head))
    yield from until(lambda: head() is not None, 120)
    bpy.context.scene.frame_set(OPTIONS["frame"])
    yield 2.0
    note("looks", view=look(), before=before)
    yield from screenshot("check-1-shaded")
    for mode in ("WIRE", "OFF", "SHADED"):
        head().blendsplat.overlay = mode
        yield 1.0
        yield from screenshot(f"check-2-{mode.lower()}")
    yield from judged()
    yield from corrected()
    note("back", error=press(bpy.ops.blendsplat.back_to_my_view), view=look())
    yield 1.0
    yield from screenshot("check-6-back")


def judged() -> Iterator[float]:
    note("worst", error=press(bpy.ops.blendsplat.go_to_worst), frame=bpy.context.scene.frame_current)
    area = next(area for area in bpy.context.window.screen.areas if area.type == "DOPESHEET_EDITOR")
    area.type = "GRAPH_EDITOR"
    for item in bpy.context.view_layer.objects:
        item.select_set(item == head())
    bpy.context.view_layer.objects.active = head()
    yield 1.0
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=bpy.context.window, area=area, region=region):
        bpy.ops.graph.view_all()
    yield from screenshot("check-3-curves")
    area.type = "DOPESHEET_EDITOR"
    yield 0.3


def corrected() -> Iterator[float]:
    scene = bpy.context.scene
    scene.frame_set(OPTIONS["frame"])
    neck = head().blendsplat.rig.pose.bones["neck"]
    before = neck.rotation_euler.y
    note("posed", error=press(bpy.ops.blendsplat.pose_head))
    neck.rotation_euler.y = before + 0.15
    yield 1.0
    yield from screenshot("check-4-turned")
    note("correct", error=press(bpy.ops.blendsplat.correct_frame))
    yield from until(lambda: addon().client.jobs.latest("correct").connected, 60)
    yield from screenshot("check-4-correcting")
    yield from job_ends("correct", 300)
    scene.frame_set(OPTIONS["frame"] + 3)
    scene.frame_set(OPTIONS["frame"])
    note("corrected", turned=round(neck.rotation_euler.y - before, 4),
         known=addon().ui.operators.check_tracking.corrected_frames(scene, head()))  # fmt: skip
    yield 1.0
    yield from screenshot("check-5-corrected")
    note("forget", error=press(bpy.ops.blendsplat.forget_correction))
    yield from job_ends("correct", 300)
    scene.frame_set(OPTIONS["frame"] + 3)
    scene.frame_set(OPTIONS["frame"])
    note("forgotten", turned=round(neck.rotation_euler.y - before, 4))


run(steps())
