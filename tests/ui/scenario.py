# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: goes through the panel's steps from a video to a rendered avatar.

blender --factory-startup --python scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import (
    FOLDER,
    MODULE,
    OPTIONS,
    addon,
    camera_view,
    install,
    job_ends,
    note,
    open_sidebar,
    run,
    screenshot,
    until,
    view,
)


def steps() -> Iterator[float]:
    yield from install()
    yield from screenshot("1-no-engine")
    note("grey", import_video=bpy.ops.blendsplat.import_video.poll(), train=bpy.ops.blendsplat.train.poll())
    yield from engine_steps()
    yield from clip_steps()
    yield from train_steps()
    yield from avatar_steps()
    yield from undo_and_reload()


def engine_steps() -> Iterator[float]:
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", "/no/such/engine"
    try:
        bpy.ops.blendsplat.engine_check()
    except RuntimeError as error:
        note("wrong engine", error=str(error).strip())
    yield from screenshot("2-wrong-engine")
    prefs.engine_command = OPTIONS["engine"]
    bpy.ops.blendsplat.engine_check()
    yield from until(lambda: addon().client.session.link.state != "starting", 180)
    note("engine", state=addon().client.session.link.state, sentence=addon().client.session.link.sentence)


def clip_steps() -> Iterator[float]:
    settings = bpy.context.scene.blendsplat
    settings.video, settings.directory, settings.size, settings.end = (
        OPTIONS["video"],
        OPTIONS["clip"],
        256,
        OPTIONS["seconds"],
    )
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.import_video()
    yield 1.0
    yield from screenshot("3-importing")
    yield from job_ends("import", 600)
    settings.track_init = "kaolrm"  # with the face network that ships
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.track()
    yield from job_ends("track", 900)
    if any(item.type == "CAMERA" for item in bpy.context.scene.objects):
        camera_view()
    yield 1.0
    bpy.context.scene.frame_set(5)
    yield from screenshot("4-tracked")
    note("head", kinds=sorted(item.blendsplat.kind for item in bpy.context.scene.objects))


def checkpoints() -> list[str]:
    return sorted(path.name for path in Path(OPTIONS["clip"]).glob("*checkpoint*"))


def train_steps() -> Iterator[float]:
    scene, jobs = bpy.context.scene, addon().client.jobs
    scene.blendsplat.preset = "draft"

    def train() -> None:
        with bpy.context.temp_override(**view()):
            bpy.ops.blendsplat.train(overrides=json.dumps(OPTIONS["overrides"]))

    train()
    yield from until(
        lambda: not jobs.latest("train").running or addon().client.preview.version(jobs.latest("train").number) > 0,
        600,
    )
    yield from screenshot("5-training")
    yield from until(lambda: not jobs.latest("train").running or bool(checkpoints()), 600)
    job = jobs.latest("train")
    process = addon().client.session.link._process
    if job.running and process is not None:
        os.kill(process.pid, signal.SIGKILL)
        yield from job_ends("train", 60)
        note("killed", files=checkpoints())
        yield from screenshot("6-killed")
        train()
        yield from until(lambda: not jobs.latest("train").running or jobs.latest("train").done > 0, 300)
        note("resumed", done=jobs.latest("train").done, before=job.done)
    yield from job_ends("train", 1500)
    yield 1.0
    yield from screenshot("7-trained")


def avatar_steps() -> Iterator[float]:
    scene = bpy.context.scene
    carrier = next(item for item in scene.objects if item.blendsplat.kind == "AVATAR")
    carrier.blendsplat.live = True
    head = carrier.blendsplat.head
    names = [key.name for key in head.data.shape_keys.key_blocks]
    name = next((n for n in names if n == "jawOpen"), names[1])
    for curve in addon().scene.keyframes.fcurves(head.data.shape_keys):
        curve.mute = True
    head.data.shape_keys.key_blocks[name].value = 1.0
    yield 0.5
    note(
        "live", key=name, weights=[round(key.value, 4) for key in addon().scene.avatar_rig.blendshape_keys(carrier)][:4]
    )
    yield from screenshot("8-slider")
    bpy.ops.blendsplat.use_render_engine()
    scene.render.film_transparent = False
    scene.render.filepath = str(FOLDER / "render.png")
    scene.render.image_settings.file_format = "PNG"
    bpy.ops.render.render(write_still=True)
    note("render", engine=scene.render.engine, written=(FOLDER / "render.png").exists())
    carrier.blendsplat.live = False
    for curve in addon().scene.keyframes.fcurves(head.data.shape_keys):
        curve.mute = False
    begin = time.monotonic()
    for frame in range(scene.frame_start, scene.frame_start + 20):
        scene.frame_set(frame)
    note("playback", per_second=round(20 / (time.monotonic() - begin), 1), vertices=len(carrier.data.vertices))
    yield 0.1


def undo_and_reload() -> Iterator[float]:
    def avatar_name() -> str:
        return next(item.name for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR")

    def avatars() -> int:
        return sum(item.blendsplat.kind == "AVATAR" for item in bpy.context.scene.objects)

    with bpy.context.temp_override(**view()):
        bpy.ops.ed.undo_push(message="before")
        bpy.context.scene.objects[avatar_name()].blendsplat.avatar_path = "another"
        bpy.ops.blendsplat.add_avatar()
        bpy.ops.ed.undo_push(message="Add Avatar")
        doubled = avatars()
        bpy.ops.ed.undo()
    note("undo", with_two=doubled, after=avatars())
    yield 0.3
    path = str(FOLDER / "scene ä.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path, compress=True)
    bpy.ops.wm.read_homefile(use_empty=True)
    yield 0.3
    bpy.ops.wm.open_mainfile(filepath=path)
    yield 1.0
    note("reopened", avatars=avatars(), engine=addon().client.session.link.state)
    open_sidebar()
    yield from screenshot("9-reopened")
    bpy.ops.preferences.addon_disable(module=MODULE)
    bpy.ops.preferences.addon_enable(module=MODULE)
    note("enabled again", enabled=MODULE in bpy.context.preferences.addons)


run(steps())
