# SPDX-License-Identifier: Apache-2.0
"""Runs inside a whole Blender with a window: an artist goes on working while steps run, and nothing of his is lost.

blender --factory-startup --python faults_scenario.py -- OPTIONS.json
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from window import FOLDER, MODULE, OPTIONS, addon, install, job_ends, note, run, screenshot, until, view


def press(operator: Callable, **settings: object) -> None:
    with bpy.context.temp_override(**view()):
        operator(**settings)


def avatar() -> bpy.types.Object:
    return next(item for item in bpy.context.scene.objects if item.blendsplat.kind == "AVATAR")


def places(name: str) -> np.ndarray:
    """The evaluated Gaussians [N,3]."""
    mesh = bpy.data.objects[name].evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    values = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", values)
    return values.reshape(-1, 3)


def offers() -> list[str]:
    return [offer.title for offer in addon().ui.operators.results.offers(bpy.context.scene, "train")]


def enter(item: bpy.types.Object, mode: str) -> None:
    bpy.context.view_layer.objects.active = item
    item.hide_set(False)
    with bpy.context.temp_override(**view()):
        bpy.ops.object.mode_set(mode=mode)


def steps() -> Iterator[float]:
    yield from install()
    prefs = bpy.context.preferences.addons[MODULE].preferences
    prefs.engine_kind, prefs.engine_command = "COMMAND", OPTIONS["engine"]
    scene = bpy.context.scene
    before = (scene.render.engine, scene.view_settings.view_transform)
    scene.blendsplat.video, scene.blendsplat.directory = OPTIONS["video"], OPTIONS["clip"]
    for step, operator in (("import", "import_video"), ("track", "track"), ("train", "train")):
        press(getattr(bpy.ops.blendsplat, operator))
        yield from job_ends(step, 90)
        yield 0.5
    note("looks", unchanged=(scene.render.engine, scene.view_settings.view_transform) == before)
    yield from edited()
    yield from posed()
    yield from reopened()
    yield from beheaded()
    yield from without()


def trained_while(act: Callable[[], None]) -> Iterator[float]:
    """Train further; the artist acts when it has begun."""
    jobs = addon().client.jobs
    press(bpy.ops.blendsplat.train)
    yield from until(lambda: jobs.latest("train").done > 0, 30)
    act()
    yield from job_ends("train", 60)
    yield 1.0


def edited() -> Iterator[float]:
    carrier = avatar()
    name, keys = carrier.name, len(carrier.data.shape_keys.key_blocks)
    yield from trained_while(lambda: enter(carrier, "EDIT"))
    yield from screenshot("faults-1-edited")
    there = name in bpy.data.objects
    note("edited", there=there, mode=bpy.data.objects[name].mode if there else "", offers=offers(),
         keys=len(bpy.data.objects[name].data.shape_keys.key_blocks) == keys if there else False)  # fmt: skip
    enter(carrier, "OBJECT")
    press(bpy.ops.blendsplat.add_result, kind="train")
    note("taken", offers=offers(), avatars=sum(item.blendsplat.kind == "AVATAR" for item in bpy.context.scene.objects))
    yield 0.3


def posed() -> Iterator[float]:
    rig = avatar().parent
    yield from trained_while(lambda: enter(rig, "POSE"))
    note("posed", mode=bpy.context.mode, active=bpy.context.view_layer.objects.active == rig, offers=offers())
    enter(rig, "OBJECT")


def reopened() -> Iterator[float]:
    """The preset that was chosen, the jobs of this file, and another file that has none of them."""
    settings = bpy.context.scene.blendsplat
    settings.preset = "full"
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "ana.blend"))
    yield 0.3
    bpy.ops.wm.read_homefile(use_empty=True)
    yield 0.5
    common = addon().ui.operators.common
    note("another file", jobs=[kind for kind in ("import", "track", "train") if common.job_of(bpy.context.scene, kind)],
         can_train=bpy.ops.blendsplat.train.poll())  # fmt: skip
    yield from screenshot("faults-2-another-file")
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "ana.blend"))
    yield 0.5
    settings = bpy.context.scene.blendsplat
    note("reopened", preset=settings.preset, chosen=settings.chosen_preset())


def beheaded() -> Iterator[float]:
    carrier = avatar()
    key = addon().scene.avatar_rig.blendshape_keys(carrier)[1]
    key.name = "a name of the artist's"
    before = places(carrier.name)
    bpy.data.objects.remove(carrier.blendsplat.head)
    yield 0.5
    sentence = addon().scene.avatar_repair.sentence(carrier)
    yield from screenshot("faults-3-beheaded")
    bpy.context.view_layer.objects.active = carrier
    press(bpy.ops.blendsplat.repair_avatar)
    yield 0.5
    gap = float(np.abs(places(carrier.name) - before).max())
    note("repaired", said=sentence, left=addon().scene.avatar_repair.sentence(carrier), gap=gap,
         keys=len(addon().scene.avatar_rig.blendshape_keys(carrier)))  # fmt: skip


def without() -> Iterator[float]:
    """Saved with Live on, the file plays without the extension."""
    carrier, scene = avatar(), bpy.context.scene
    name, frames = carrier.name, (2, 12)
    shown = []
    for frame in frames:
        scene.frame_set(frame)
        shown.append(places(name))
    carrier.blendsplat.live = True
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "live.blend"))
    bpy.ops.preferences.addon_disable(module=MODULE)
    yield 0.5
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "live.blend"))
    yield 0.5
    gaps = []
    for frame, want in zip(frames, shown, strict=True):
        bpy.context.scene.frame_set(frame)
        gaps.append(float(np.abs(places(name) - want).max()))
    note("without", gaps=gaps, moves=float(np.abs(shown[0] - shown[1]).max()))


run(steps())
