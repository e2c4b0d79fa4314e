# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: the engine's panel from nothing to a test picture, as on the first day.

blender --factory-startup --python install_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import FOLDER, MODULE, OPTIONS, addon, install, note, open_sidebar, run, screenshot, until, view


def prefs() -> bpy.types.AddonPreferences:
    return bpy.context.preferences.addons[MODULE].preferences


def close_other_panels() -> None:
    """Only the engine's panel is looked at."""
    area = view()["area"]
    area.spaces.active.show_region_ui = True
    open_sidebar()


def steps() -> Iterator[float]:
    yield from install()
    close_other_panels()
    yield from offline()
    yield from failing()
    yield from installing()
    yield from removed()
    yield from elsewhere()


def offline() -> Iterator[float]:
    bpy.context.preferences.system.use_online_access = False
    yield from screenshot("1-offline")
    note("offline", grey=not bpy.ops.blendsplat.engine_install.poll())
    bpy.ops.extensions.userpref_allow_online()
    note("online", access=bpy.app.online_access, grey=not bpy.ops.blendsplat.engine_install.poll())
    yield from screenshot("2-nothing-installed")


def installation():
    return addon().ui.operators.installation.installation()


def failing() -> Iterator[float]:
    prefs().package_index = OPTIONS["refused"]
    bpy.ops.blendsplat.engine_install()
    yield from until(lambda: installation().state != "running", 120)
    note("failed", state=installation().state, error=installation().error, log=bpy.ops.blendsplat.engine_log.poll())
    yield from screenshot("3-failed")
    windows = len(bpy.context.window_manager.windows)
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.engine_log()
    yield 1.0
    yield from screenshot("3-log")
    new = bpy.context.window_manager.windows[-1]
    note(
        "log",
        windows=len(bpy.context.window_manager.windows) - windows,
        text=new.screen.areas[0].spaces.active.text.name,
    )
    with bpy.context.temp_override(window=new):
        bpy.ops.wm.window_close()
    yield 0.5


def installing() -> Iterator[float]:
    prefs().package_index = OPTIONS["index"]
    (FOLDER / "slow").touch()  # the index trickles as long as this is there
    bpy.ops.blendsplat.engine_install()
    yield from until(lambda: installation().come > 10**6, 120)
    first = installation().fraction
    yield from until(lambda: installation().fraction > first, 60)
    yield from screenshot("4-installing")
    bpy.ops.blendsplat.engine_install_cancel()
    yield from until(lambda: installation().state != "running", 60)
    left = installation().workshop.temporaries.exists()
    note("cancelled", state=installation().state, left=left, bar=first)
    (FOLDER / "slow").unlink()
    bpy.ops.blendsplat.engine_install()
    yield from until(lambda: installation().state != "running", 120)
    note("installed engine", state=installation().state, error=installation().error)
    link = addon().client.session.link
    yield from until(lambda: link.state in ("ready", "failed"), 60)
    yield from screenshot("5-ready")
    note("ready", state=link.state, version=link.hello.get("version"))
    bpy.ops.blendsplat.engine_stop()
    report = addon().preferences.environment_directory() / "complete.json"
    report.write_text(report.read_text().replace('"version": "0.1.0"', '"version": "0.0.9"'))
    yield from screenshot("6-update")
    note("update", versions=addon().ui.operators.installation.update())
    bpy.ops.blendsplat.open_preferences(page="ADDON")
    yield 1.0
    yield from screenshot("7-preferences")
    note("preferences", windows=len(bpy.context.window_manager.windows))


def removed() -> Iterator[float]:
    bpy.ops.blendsplat.engine_remove()
    removal = addon().ui.operators.installation.removal()
    yield from until(lambda: not removal.running, 60)
    note("removed", sentence=removal.sentence, left=addon().preferences.environment_directory().exists())
    yield from screenshot("8-removed")


def elsewhere() -> Iterator[float]:
    session = addon().client.session
    prefs().engine_kind, prefs().engine_command = "COMMAND", OPTIONS["ssh"].replace("HOST", "stranger")
    bpy.ops.blendsplat.add_folder()
    prefs().folders[0].here, prefs().folders[0].there = str(FOLDER), "/srv/shots"
    bpy.ops.blendsplat.engine_check()
    yield from until(lambda: session.link.state != "starting", 60)
    note("stranger", sentence=session.link.sentence)
    yield from screenshot("9-stranger")
    prefs().engine_command = OPTIONS["ssh"].replace("HOST", "gpu-box")
    bpy.ops.blendsplat.engine_check()
    yield from until(lambda: session.link.state != "starting", 60)
    bpy.ops.blendsplat.test_picture()
    test_picture = addon().client.test_picture
    yield from until(lambda: test_picture.report() is not None, 60)
    for window in bpy.context.window_manager.windows[1:]:
        with bpy.context.temp_override(window=window):
            bpy.ops.wm.window_close()
    yield from screenshot("10-test-picture")
    note("picture", lines=test_picture.report().lines, image=test_picture.NAME in bpy.data.images)
    yield from frozen(session)


def frozen(session) -> Iterator[float]:
    """A connection that hangs: Blender's own loop goes on, and the panel says so."""
    os.killpg(session.link._process.pid, signal.SIGSTOP)
    beats, longest, end = 0, 0.0, time.monotonic() + 18
    begin = time.monotonic()
    bpy.ops.blendsplat.test_picture()
    asked = time.monotonic() - begin
    last = time.monotonic()
    while time.monotonic() < end:
        yield 0.1
        longest, last, beats = max(longest, time.monotonic() - last), time.monotonic(), beats + 1
    note("frozen", asked=round(asked, 3), longest=round(longest, 3), beats=beats, silence=session.link.silence)
    yield from screenshot("11-frozen")
    os.killpg(session.link._process.pid, signal.SIGCONT)
    bpy.ops.blendsplat.engine_stop()


run(steps())
