# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: an avatar with networks is chosen, rendered with its passes, and baked.

blender --factory-startup --python networks_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window import FOLDER, MODULE, OPTIONS, addon, camera_view, install, job_ends, note, run, screenshot, until, view

_said = io.StringIO()  # what panels that cannot be drawn say


def avatars() -> list[str]:
    return sorted(item.name for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR")


def bake() -> None:
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.bake_networks("EXEC_DEFAULT", frame_start=1, frame_end=OPTIONS["last"])


def steps() -> Iterator[float]:
    sys.stderr = _said
    yield from install()
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", OPTIONS["engine"]
    scene = bpy.context.scene
    scene.blendsplat.avatar_file, scene.blendsplat.performance = OPTIONS["avatar"], OPTIONS["performance"]
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.add_avatar()
        bpy.ops.blendsplat.use_render_engine()
        bpy.ops.ed.undo_push(message="Add Avatar")
    camera_view()
    carrier = scene.objects[avatars()[0]]
    for shown in ("SLIDERS", "RESIDUAL", "BASE", "FULL"):
        carrier.blendsplat.shown = shown
        yield 0.3
    yield from screenshot("networks-1-panel")
    carrier.blendsplat.avatar_path = str(FOLDER / "away.avatar.npz")
    yield 0.3
    note("missing", can_bake=bpy.ops.blendsplat.bake_networks.poll())
    yield from screenshot("networks-2-missing")
    carrier.blendsplat.avatar_path = OPTIONS["avatar"]
    yield from rendered()
    yield from baked()
    sys.stderr = sys.__stderr__
    note("said", text=_said.getvalue())


def rendered() -> Iterator[float]:
    scene, layer = bpy.context.scene, bpy.context.scene.view_layers[0]
    layer.blendsplat.use_pass_base = layer.blendsplat.use_pass_residual = True
    scene.render.resolution_x = scene.render.resolution_y = 128
    bake()  # meanwhile: no frame may be read under the render's feet
    with bpy.context.temp_override(**view()):
        bpy.ops.render.render("INVOKE_DEFAULT")
    yield from until(lambda: not bpy.app.is_job_running("RENDER"), 60)
    yield from screenshot("networks-3-rendered")
    yield from job_ends("bake", 60)
    note("beside", avatars=avatars())
    with bpy.context.temp_override(**view()):
        bpy.ops.ed.undo()
    yield 0.5
    note("undone", avatars=avatars())


def baked() -> Iterator[float]:
    scene, jobs = bpy.context.scene, addon().client.jobs
    scene.frame_set(7)
    carrier = scene.objects[avatars()[0]]
    carrier.blendsplat.head.blendsplat.rig.pose.bones["jaw"].rotation_euler[0] = 0.5  # not keyed
    bake()
    yield from until(lambda: jobs.latest("bake").connected, 60)
    with bpy.context.temp_override(**view()):
        bpy.ops.blendsplat.cancel_job(kind="bake")
    yield from job_ends("bake", 60)
    yield from screenshot("networks-4-cancelled")
    note("cancelled", avatars=avatars(), status=jobs.latest("bake").status())
    bake()
    turns, frames = 0, set()
    while jobs.latest("bake").running:
        turns += 1
        frames.add(scene.frame_current)
        yield 0.02
    yield from screenshot("networks-5-baked")
    jaw = scene.objects[avatars()[0]].blendsplat.head.blendsplat.rig.pose.bones["jaw"].rotation_euler[0]
    job = jobs.latest("bake")
    note(
        "baked", avatars=avatars(), turns=turns, frames=sorted(frames), jaw=jaw, state=job.state, error=job.error,
        remarks=job.remarks, scenes=len(bpy.data.scenes),
    )  # fmt: skip


run(steps())
