# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: a live capture from start to end, its preview in an image editor and
the avatar in the 3D view while it runs.

blender --factory-startup --python live_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import MODULE, OPTIONS, addon, install, note, run, screenshot, until, view


def kinds() -> list[str]:
    return sorted(item.blendsplat.kind for item in bpy.context.scene.objects if item.blendsplat.kind != "NONE")


def editor_beside() -> None:
    """An image editor in place of the usual screen's properties."""
    area = next(area for area in bpy.context.window_manager.windows[0].screen.areas if area.type == "PROPERTIES")
    area.type = "IMAGE_EDITOR"


def steps() -> Iterator[float]:
    yield from install()
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", OPTIONS["engine"]
    settings, jobs = bpy.context.scene.blendsplat.live, addon().client.jobs
    bpy.context.scene.blendsplat.show_live = True
    settings.takes = OPTIONS["takes"]
    if OPTIONS["video"]:
        settings.source, settings.video = "FILE", OPTIONS["video"]
    else:
        with bpy.context.temp_override(**view()):
            bpy.ops.blendsplat.find_cameras()
        yield from until(lambda: addon().ui.live_sources.known() is not None, 60)
        note("cameras", known=addon().ui.live_sources.known(), chosen=settings.camera)
    editor_beside()
    yield from screenshot("live-1-before")
    begin = time.monotonic()
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.start_live()
    note("start", seconds=round(time.monotonic() - begin, 3), running=jobs.latest("live").running)
    yield from until(lambda: kinds() == ["LIVE"], 180)
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.show_picture(kind="LIVE")
    yield from while_it_runs(jobs)
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.stop_live()
    yield from until(lambda: not jobs.latest("live").running, 180)
    yield 1.0
    job = jobs.latest("live")
    note("ended", state=job.state, error=job.error, kinds=kinds(), problem=addon().render.viewport.problem())
    yield from screenshot("live-3-ended")


def while_it_runs(jobs) -> Iterator[float]:  # type: ignore[no-untyped-def]
    """Counts how often avatar and picture are others, and how long Blender had no turn."""
    image, mesh = bpy.data.images["Live Preview"], addon().scene.live_avatar.of(bpy.context.scene).data
    avatars, pictures, begin, last, longest = set(), set(), time.monotonic(), time.monotonic(), 0.0
    while len(avatars) < 4 or len(pictures) < 4 or time.monotonic() < begin + OPTIONS["seconds"]:
        if time.monotonic() > begin + OPTIONS["seconds"] + 60:
            raise TimeoutError(f"avatars {len(avatars)}, pictures {len(pictures)}")
        yield 0.02
        longest, last = max(longest, time.monotonic() - last - 0.02), time.monotonic()
        avatars.add(round(mesh.vertices[0].co.y, 6))
        pictures.add(round(sum(image.pixels[:3000]), 2))
    yield from screenshot("live-2-running")
    note(
        "running", avatars=len(avatars), pictures=len(pictures),
        longest=round(longest, 3), dirty=image.is_dirty, size=list(image.size), message=jobs.latest("live").message,
        undo=bpy.ops.ed.undo.poll(),
    )  # fmt: skip


run(steps())
