# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: every state of the panel, from nothing to a trained avatar, to look at.

blender --factory-startup --python panel_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import MODULE, OPTIONS, addon, install, job_ends, note, run, screenshot, until, view


def settings():  # type: ignore[no-untyped-def]
    return bpy.context.scene.blendsplat


def press(operator, *how: str, **words: object) -> str:  # type: ignore[no-untyped-def]
    """Press a button; "" or the error that Blender shows."""
    with bpy.context.temp_override(**view()):
        try:
            operator(*how, **words)
        except RuntimeError as error:
            return str(error).strip()
    return ""


def opened() -> list[str]:
    steps = addon().ui.step_state.STEPS[1:]  # the stand-in engine is of another version, which is told
    return [step for step in steps if getattr(settings(), f"show_{step}")]


def wide() -> None:
    """As much of the sidebar as an artist drags open."""
    region = next(region for region in view()["area"].regions if region.type == "UI")
    note("sidebar", width=region.width)


def steps() -> Iterator[float]:
    yield from install()
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", OPTIONS["engine"]
    wide()
    note("nothing", open=opened())
    yield from screenshot("panel-1-nothing")
    settings().video, settings().directory = OPTIONS["video"], OPTIONS["clip"]
    if OPTIONS.get("import"):
        press(bpy.ops.blendsplat.import_video, "EXEC_DEFAULT")
        yield 0.4
        yield from screenshot("panel-2-importing")
        yield from job_ends("import", 600)
    note("imported", open=opened())
    yield 0.5
    yield from screenshot("panel-3-imported")
    settings().show_video = True
    yield from screenshot("panel-3-imported-unfolded")
    settings().show_video = False
    note("large clip", error=press(bpy.ops.blendsplat.show_picture, kind="CLIP"))
    yield 1.0
    yield from screenshot("panel-3-clip-large")
    yield from close_windows()
    if OPTIONS.get("import"):
        yield from failed(prefs)
    yield from tracked()
    yield from trained()


def failed(prefs: bpy.types.AddonPreferences) -> Iterator[float]:
    """An error stands where it happened."""
    prefs.engine_command = OPTIONS["noface"]
    addon().client.session.stop()
    press(bpy.ops.blendsplat.track)
    yield from job_ends("track", 120)
    yield from screenshot("panel-4-failed")
    note("details", error=press(bpy.ops.blendsplat.show_details, "INVOKE_DEFAULT", kind="track"))
    yield 0.5
    yield from screenshot("panel-4-details")
    subprocess.run(["xdotool", "key", "Escape"], timeout=30, check=False)
    yield 0.5
    prefs.engine_command = OPTIONS["engine"]
    addon().client.session.stop()


def tracked() -> Iterator[float]:
    press(bpy.ops.blendsplat.track if OPTIONS.get("import") else bpy.ops.blendsplat.add_head)
    if OPTIONS.get("import"):
        yield from job_ends("track", 900)
    yield from until(lambda: any(item.blendsplat.kind == "HEAD" for item in bpy.context.scene.objects), 120)
    yield 2.0
    scene = bpy.context.scene
    note("tracked", open=opened(), view=view()["area"].spaces.active.region_3d.view_perspective,
         frames=[scene.frame_start, scene.frame_end], current=scene.frame_current)  # fmt: skip
    yield from screenshot("panel-5-tracked")
    settings().show_check = False
    yield from screenshot("panel-5-coverage")
    note("curves", error=press(bpy.ops.blendsplat.show_curves))
    yield 1.5
    yield from screenshot("panel-5-curves")
    yield from close_windows()


def trained() -> Iterator[float]:
    jobs = addon().client.jobs
    press(bpy.ops.blendsplat.train, overrides=json.dumps(OPTIONS.get("overrides", {})))
    job = jobs.latest("train")
    yield from until(lambda: addon().client.preview.version(job.number) > 1 or not job.running, 600)
    note("training", open=opened(), bar=[addon().ui.status_bar.words(job) for job in addon().ui.status_bar.running()])
    yield from screenshot("panel-6-training")
    note("large", error=press(bpy.ops.blendsplat.show_picture, kind="TRAINING"))
    yield 1.5
    yield from screenshot("panel-6-training-large")
    yield from close_windows()
    yield from job_ends("train", 1500)
    yield 1.0
    note("trained", open=opened(), bar=len(addon().ui.status_bar.running()), quality=settings().quality)
    yield from screenshot("panel-7-trained")
    settings().show_train = True
    yield from screenshot("panel-7-trained-unfolded")
    settings().show_train = False
    yield from missing()
    yield from german()


def missing() -> Iterator[float]:
    """A file that was moved."""
    carrier = next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR")
    carrier.blendsplat.avatar_path = "/moved/away.avatar.npz"
    yield 3.0
    yield from screenshot("panel-8-missing")
    note("relink", error=press(bpy.ops.blendsplat.relink, "EXEC_DEFAULT", directory=OPTIONS["clip"]))
    yield from until(lambda: not addon().ui.operators.relink.searching(), 60)
    note("relinked", found=Path(carrier.blendsplat.avatar_path).name)


def german() -> Iterator[float]:
    """The panel in another language, where this Blender has any."""
    preferences = bpy.context.preferences.view
    try:
        preferences.language, preferences.use_translate_interface = "de_DE", True
    except TypeError:
        note("german", shown="not in this Blender")
        return
    yield 1.0
    note("german", shown=bpy.app.translations.pgettext_iface("Track Head"))
    yield from screenshot("panel-9-german")


def close_windows() -> Iterator[float]:
    for window in list(bpy.context.window_manager.windows)[1:]:
        with bpy.context.temp_override(window=window):
            bpy.ops.wm.window_close()
    yield 0.5


run(steps())
