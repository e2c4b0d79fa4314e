# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: while a training runs, everything else answers at once or shows that it is
on its way: adding a head, a render, a head from a photograph.

blender --factory-startup --python lanes_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import FOLDER, MODULE, OPTIONS, addon, install, note, run, screenshot, until, view


def heads() -> int:
    return sum(item.blendsplat.kind == "HEAD" for item in bpy.context.scene.objects)


def press(operator: Callable, *words: str, **settings: object) -> float:
    """Press a button -> the seconds until Blender's event loop has it back."""
    begin = time.monotonic()
    with bpy.context.temp_override(**view()):
        operator(*words, **settings)
    return round(time.monotonic() - begin, 3)


def gaps_until(condition: Callable[[], bool], seconds: float, shown: Callable[[], bool]) -> Iterator[float]:
    """Let the event loop run until the condition holds; notes its longest pause while ``shown`` said that something is
    on its way (afterwards the new thing itself is built and drawn)."""
    end, last, longest, seen = time.monotonic() + seconds, time.monotonic(), 0.0, False
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited too long")
        yield 0.02
        if shown():
            seen, longest = True, max(longest, time.monotonic() - last - 0.02)
        last = time.monotonic()
    note("loop", shown=seen, longest=round(longest, 3))


def on_its_way(topic: str) -> Callable[[], bool]:
    """A panel says that this is on its way."""
    session = addon().client.session
    return lambda: (errand := session.errand(topic)) is not None and errand.waiting


def steps() -> Iterator[float]:
    yield from install()
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", OPTIONS["engine"]
    settings, jobs = bpy.context.scene.blendsplat, addon().client.jobs
    settings.directory, settings.avatar_file = OPTIONS["clip"], OPTIONS["avatar"]
    seconds = press(bpy.ops.blendsplat.train)
    note("train", seconds=seconds, waiting=jobs.latest("train").running)
    yield from until(lambda: jobs.latest("train").done > 0, 60)
    training = jobs.latest("train")
    yield from added_head()
    yield from rendered()
    yield from photograph()
    note("training", running=training.running, previews=addon().client.preview.version(training.number))
    yield from screenshot("lanes")
    press(bpy.ops.blendsplat.cancel_job, kind="train")
    yield from until(lambda: not training.running, 30)
    note("cancelled", state=training.state)


def added_head() -> Iterator[float]:
    seconds, waiting = press(bpy.ops.blendsplat.add_head), on_its_way("head")
    note("add head", seconds=seconds, waiting=waiting() and heads() == 0)
    yield from gaps_until(lambda: heads() == 1, 30, waiting)
    with bpy.context.temp_override(**view()):
        bpy.ops.ed.undo_push(message="a step of the artist's")
        bpy.ops.ed.undo()
        bpy.ops.ed.undo()
    undone = heads()
    yield 0.2
    with bpy.context.temp_override(**view()):
        bpy.ops.ed.redo()
        bpy.ops.ed.redo()
    note("undo", undone=undone, redone=heads())
    yield 0.2


def rendered() -> Iterator[float]:
    """A frame as the Render button makes it, in Blender's own thread for it; then a look at another frame."""
    note("add avatar", seconds=press(bpy.ops.blendsplat.add_avatar))
    press(bpy.ops.blendsplat.use_render_engine)
    yield 0.5
    scene, done = bpy.context.scene, []
    scene.render.resolution_percentage = 50
    bpy.app.handlers.render_complete.append(lambda *_: done.append(True))
    bpy.app.handlers.render_cancel.append(lambda *_: done.append(False))
    for frame in (3, 7):
        done.clear()
        scene.frame_set(frame)
        seconds = press(bpy.ops.render.render, "INVOKE_DEFAULT")
        note("render", seconds=seconds, waiting=not done)
        begin = time.monotonic()
        yield from until(lambda: bool(done), 60)
        note("rendered", complete=done[0], seconds=round(time.monotonic() - begin, 2))
    yield 0.2


def photograph() -> Iterator[float]:
    jobs, portrait = addon().client.jobs, FOLDER / "ana.png"
    shutil.copy(OPTIONS["portrait"], portrait)
    seconds = press(bpy.ops.blendsplat.fit_image, filepath=str(portrait))
    fit = jobs.latest("fit_image")
    note("fit", seconds=seconds, waiting=fit.running)
    yield from gaps_until(lambda: not fit.running, 60, lambda: fit.running)
    note("fit ends", state=fit.state, error=fit.error, heads=heads())


run(steps())
