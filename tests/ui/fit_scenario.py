# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: heads from photographs, as an artist makes them, and what can go wrong.

blender --factory-startup --python fit_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import FOLDER, MODULE, OPTIONS, addon, camera_view, install, job_ends, note, run, screenshot, until, view

ALBUM = FOLDER / "Fotos ä 日本"
PORTRAIT, CAT, SECOND = (ALBUM / name for name in ("Ana 人.png", "cat.png", "zweites Bild.png"))
SLOW = FOLDER / "slow.png"  # the stand-in engine takes its time for it


def settings():  # type: ignore[no-untyped-def]
    return bpy.context.scene.blendsplat.photographs


def heads() -> list[str]:
    return sorted(item.name for item in bpy.context.scene.objects if item.blendsplat.kind == "HEAD")


def press(operator: Callable, **words: object) -> str:
    """Press a button; "" or the error that Blender shows."""
    with bpy.context.temp_override(**view()):
        try:
            operator(**words)
        except RuntimeError as error:
            return str(error).strip()
    return ""


def fit(*images: Path) -> str:
    return press(
        bpy.ops.blendsplat.fit_image, directory=str(images[0].parent), files=[{"name": path.name} for path in images]
    )


def steps() -> Iterator[float]:
    ALBUM.mkdir()
    for path, source in ((PORTRAIT, "portrait"), (CAT, "no_face"), (SECOND, "portrait"), (SLOW, "portrait")):
        shutil.copy(OPTIONS[source], path)
    yield from install()
    note("grey", fit=bpy.ops.blendsplat.fit_image.poll(), export=bpy.ops.blendsplat.export_head.poll())
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", OPTIONS["engine"]
    yield from preferences_window(prefs)
    yield from dropped()
    yield from fitted()
    yield from undo_and_redo()
    yield from several()
    yield from going_wrong()
    yield from saved_and_moved()


def preferences_window(prefs: bpy.types.AddonPreferences) -> Iterator[float]:
    """The face network's weights are checked while the window goes on."""
    weights = addon().client.weights_check
    note("check", error=press(bpy.ops.blendsplat.check_weights), at_once=weights.lines("auto"))
    bpy.ops.screen.userpref_show(section="ADDONS")
    window = bpy.context.window_manager.windows[-1]
    bpy.context.window_manager.addon_search = "Blendsplat"
    with bpy.context.temp_override(window=window, area=window.screen.areas[0]):
        bpy.ops.preferences.addon_expand(module=MODULE)
    yield from until(lambda: not weights.waiting(), 180)
    note("weights", lines=weights.lines("auto"))
    yield from screenshot("fit-1-preferences")
    prefs.network, prefs.weights = "FOLDER", str(ALBUM)
    press(bpy.ops.blendsplat.check_weights)
    yield from until(lambda: not weights.waiting(), 60)
    note("weights", lines=weights.lines(str(ALBUM)))
    prefs.network = "AUTO"
    with bpy.context.temp_override(window=window):
        bpy.ops.wm.window_close()
    yield 0.5


def dropped() -> Iterator[float]:
    """What dropping a photograph calls; a menu when Blender itself has a use for pictures too."""
    with bpy.context.temp_override(**view()):
        bpy.ops.wm.drop_import_file("INVOKE_DEFAULT", directory=str(ALBUM), files=[{"name": PORTRAIT.name}])
    yield 1.0
    yield from screenshot("fit-2-dropped")
    subprocess.run(["xdotool", "key", "f"], timeout=30, check=False)  # its letter in the menu
    yield 1.0
    yield from screenshot("fit-2-dropped-dialog")
    subprocess.run(["xdotool", "key", "Escape"], timeout=30, check=False)
    yield 0.5


def fitted() -> Iterator[float]:
    gaps, last = [0.0], time.monotonic()
    note("fit", error=fit(PORTRAIT))
    jobs = addon().client.jobs
    pictured = False
    while jobs.latest("fit_image").running:
        yield 0.05
        if jobs.latest("fit_image").running:  # later ones are the new head's first drawing
            gaps.append(time.monotonic() - last - 0.05)
        last = time.monotonic()
        if not pictured and jobs.latest("fit_image").connected:
            pictured = True
            yield from screenshot("fit-3-fitting")
            last = time.monotonic()
    yield from job_ends("fit_image", 1)
    note("responsive", longest_gap=round(max(gaps), 2))
    note("fitted", heads=heads(), files=[(item.name, item.state, item.notes) for item in settings().files])
    note("shown", view=view()["area"].spaces.active.region_3d.view_perspective)
    yield from screenshot("fit-4-fitted")
    note("look", error=press(bpy.ops.blendsplat.look_through))
    camera_view()
    yield 6.0  # shaders are compiled meanwhile
    yield from screenshot("fit-5-camera")
    view()["area"].spaces.active.shading.type = "SOLID"
    output = FOLDER / "head ä.glb"
    note("export", error=press(bpy.ops.blendsplat.export_head, filepath=str(output)))
    yield from job_ends("export_head", 60)
    note("exported", bytes=output.stat().st_size if output.exists() else 0)
    note("reset", error=press(bpy.ops.blendsplat.reset_sliders))
    yield 0.3


def undo_and_redo() -> Iterator[float]:
    before = heads()
    with bpy.context.temp_override(**view()):
        bpy.ops.ed.undo_push(message="a step of the artist's")
        note("undo", heads=before)
        while heads():
            if bpy.ops.ed.undo() != {"FINISHED"}:
                break
            yield 0.1
    note("undone", heads=heads())
    for _ in range(8):
        with bpy.context.temp_override(**view()):
            if not bpy.ops.ed.redo.poll():
                break
            bpy.ops.ed.redo()
        yield 0.1
    note("redone", heads=heads(), files=len(settings().files))


def several() -> Iterator[float]:
    """A folder: the good ones come in, the others are named."""
    note("fit several", error=press(bpy.ops.blendsplat.fit_image, directory=str(ALBUM)))
    yield from job_ends("fit_image", 300)
    note("several", heads=heads(), files=[(item.name, item.state, item.notes) for item in settings().files])
    settings().active = [item.name for item in settings().files].index(CAT.name)
    yield from screenshot("fit-6-several")


def going_wrong() -> Iterator[float]:
    jobs, before = addon().client.jobs, heads()
    note("no such file", error=fit(ALBUM / "gone.png"), heads=heads() == before)
    fit(CAT)
    yield from job_ends("fit_image", 120)
    yield from screenshot("fit-7-no-face")
    fit(SLOW)
    yield from until(lambda: jobs.latest("fit_image").identity is not None or not jobs.latest("fit_image").running, 120)
    note("cancelling", error=press(bpy.ops.blendsplat.cancel_job))
    yield from job_ends("fit_image", 120)
    fit(SLOW)
    yield from until(lambda: jobs.latest("fit_image").identity is not None or not jobs.latest("fit_image").running, 120)
    process = addon().client.session.link._process
    if process is not None:
        os.kill(process.pid, signal.SIGKILL)
    yield from job_ends("fit_image", 60)
    yield from screenshot("fit-8-killed")
    note("after errors", heads=heads() == before, files=[(item.name, item.state) for item in settings().files])
    note("again", error=press(bpy.ops.blendsplat.fit_again))
    yield from job_ends("fit_image", 180)


def saved_and_moved() -> Iterator[float]:
    """The project's folder is moved: photographs, fits and pictures are still found."""
    project, moved = FOLDER / "project", FOLDER / "moved"
    project.mkdir()
    photo = project / "anna.png"
    shutil.copy(OPTIONS["portrait"], photo)
    bpy.ops.wm.save_as_mainfile(filepath=str(project / "scene.blend"))
    fit(photo)
    yield from job_ends("fit_image", 180)
    bpy.ops.wm.save_mainfile()
    project.rename(moved)
    bpy.ops.wm.read_homefile(use_empty=True)
    yield 0.5
    bpy.ops.wm.open_mainfile(filepath=str(moved / "scene.blend"))
    yield 1.0
    item = settings().files[0]
    missing = [image.name for image in bpy.data.images if image.source == "FILE" and not image.has_data
               and not Path(bpy.path.abspath(image.filepath)).exists()]  # fmt: skip
    folder = addon().ui.photographs.folder_of(item)
    note("reopened", path=item.path, folder=str(folder), missing=missing, heads=heads(), state=item.state)
    note("look again", error=press(bpy.ops.blendsplat.look_through))
    camera_view()
    yield 2.0
    yield from screenshot("fit-9-reopened")


run(steps())
