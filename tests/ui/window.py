# SPDX-License-Identifier: Apache-2.0
"""What scenarios in a whole Blender share: the report, screenshots, waiting, and the timer that moves a scenario on.

A scenario is a generator that a timer moves on, so Blender's own event loop runs between its steps as for an artist.
What is seen goes to report.json in the options' folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import bpy

OPTIONS = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text(encoding="utf-8"))
FOLDER = Path(OPTIONS["folder"])
MODULE = "bl_ext.user_default.blendsplat"
_BEGIN = time.monotonic()
report: dict = {"version": bpy.app.version_string, "python": sys.version.split()[0], "steps": [], "screenshots": []}


def note(step: str, **values: object) -> None:
    report["steps"].append({"step": step, **values})
    print(f"STEP {time.monotonic() - _BEGIN:6.1f} s", step, values, flush=True)
    (FOLDER / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")


def addon() -> ModuleType:
    return sys.modules[MODULE]


def screenshot(name: str) -> Iterator[float]:
    """Redraw and take the whole screen's picture."""
    for _ in range(3):
        for area in bpy.context.window_manager.windows[0].screen.areas:
            area.tag_redraw()
        yield 0.2
    path = FOLDER / f"{name}.png"
    subprocess.run(["import", "-window", "root", str(path)], timeout=60, check=False)
    report["screenshots"].append(path.name)


def view() -> dict:
    """Override for operators: the first 3D view."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    return {
        "window": window,
        "area": area,
        "region": next(region for region in area.regions if region.type == "WINDOW"),
    }


def until(condition: Callable[[], bool], seconds: float) -> Iterator[float]:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited too long")
        yield 0.2


def job_ends(kind: str, seconds: float) -> Iterator[float]:
    jobs = addon().client.jobs
    yield from until(lambda: not jobs.latest(kind).running, seconds)
    job = jobs.latest(kind)
    note(kind, state=job.state, error=job.error)


def open_sidebar() -> None:
    area = view()["area"]
    area.spaces.active.show_region_ui = True
    area.spaces.active.show_region_toolbar = False
    region = next(region for region in area.regions if region.type == "UI")
    if region.active_panel_category != "Avatar":
        region.active_panel_category = "Avatar"


def camera_view() -> None:
    space = view()["area"].spaces.active
    space.region_3d.view_perspective = "CAMERA"
    space.shading.type = "MATERIAL"
    space.overlay.show_overlays = True


def install() -> Iterator[float]:
    """The extension from its zip, an empty scene, the tab open."""
    subprocess.run(["xdotool", "key", "Escape"], timeout=30, check=False)  # the splash
    yield 0.5
    bpy.ops.extensions.package_install_files(filepath=OPTIONS["zip"], repo="user_default", enable_on_install=True)
    note("installed", enabled=MODULE in bpy.context.preferences.addons)
    with bpy.context.temp_override(**view()):
        bpy.ops.object.select_all(action="SELECT")
        bpy.ops.object.delete()
    yield 0.5
    area = view()["area"]
    area.spaces.active.show_region_ui = True
    yield 0.5
    open_sidebar()


def run(generator: Iterator[float]) -> None:
    """Move the scenario on until its end, then quit Blender."""

    def move() -> float | None:
        try:
            return next(generator)
        except StopIteration:
            report["finished"] = True
        except BaseException:
            report["error"] = traceback.format_exc()
            print(report["error"], flush=True)
            subprocess.run(["import", "-window", "root", str(FOLDER / "error.png")], timeout=60, check=False)
        note("end")
        bpy.ops.wm.quit_blender()
        return None

    bpy.app.timers.register(move, first_interval=2.0, persistent=True)
