# SPDX-License-Identifier: GPL-3.0-or-later
"""Live Capture drives an avatar of the scene: frames that the engine tracked move its head while the camera runs.

When the capture ends, the avatar has its own keys again, and the take is the performance that is chosen, to be applied
or put between two frames.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ...client import jobs
from ...scene import drive_head, head_rig, preview_performance
from .. import acting
from . import common, live_results

_DRIVER, _PROBLEM, _DRIVEN = "driver", "drive_problem", "driven"  # notes of the job


class TakeRest(common.Grey, bpy.types.Operator):
    """Rest your face and look into the camera, then press: what you do from here on is counted from that face"""

    bl_idname = "blendsplat.take_rest"
    bl_label = "This Is My Resting Face"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        job = live_results.running(context.scene)
        return "" if job is not None and _DRIVER in job.context else "No live capture drives an avatar."

    def execute(self, context: bpy.types.Context) -> set[str]:
        live_results.running(context.scene).context[_DRIVER].forget()
        return {"FINISHED"}


def chosen(scene: bpy.types.Scene) -> bpy.types.Object | None:
    """The avatar that captures drive; None where none is chosen, or it was deleted."""
    carrier = scene.blendsplat.live.drive
    return carrier if carrier is not None and carrier.name in scene.objects else None


def problem(job: jobs.Job) -> str:
    """Why the capture does not move the avatar, or ""."""
    return str(job.context.get(_PROBLEM, ""))


def learns_rest(job: jobs.Job) -> bool:
    """Whether the driver's resting face is not known yet."""
    driver = job.context.get(_DRIVER)
    return driver is not None and driver.rest is None


def _framed(job: jobs.Job, info: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """A tracked frame; while Blender renders, or shows another file, it is dropped: another one comes."""
    place = job.context.get("place")
    scene = place.find() if place is not None else None
    if "head" not in info or scene is None or not job.running or live_results.is_ending(job):
        return
    if common.is_rendering():
        return
    carrier = chosen(scene)
    if carrier is None or carrier.name != job.context.setdefault(_DRIVEN, carrier.name):
        _let_go(job, scene)
        if carrier is None:
            return
        job.context[_DRIVEN] = carrier.name
    job.context[_PROBLEM] = _cannot_drive(carrier, str(info["head"]), arrays)
    if not job.context[_PROBLEM]:
        driver = job.context.setdefault(_DRIVER, drive_head.Driver())
        drive_head.drive(carrier, driver, arrays, acting.chosen(scene))


def _cannot_drive(carrier: bpy.types.Object, model: str, arrays: dict[str, np.ndarray]) -> str:
    head = carrier.blendsplat.head
    if head is None or head.data is None or head.data.shape_keys is None:
        return f"{carrier.name} has no head that could be driven: repair it first."
    mine = str(head[head_rig.CUSTOM].get("model", ""))
    if (mine and model and mine != model) or not drive_head.is_whole(arrays, head):
        return (
            f"The capture tracks another head model than {carrier.name} has: choose that one under Track, start again."
        )
    return ""


def _let_go(job: jobs.Job, scene: bpy.types.Scene) -> None:
    """Give the driven avatar its own keys back."""
    driven = scene.objects.get(job.context.pop(_DRIVEN, "") or "")
    if driven is not None and driven.blendsplat.kind == "AVATAR":
        preview_performance.stop(driven)


def _ended(job: jobs.Job) -> None:
    place = job.context.get("place")
    scene = place.find() if place is not None else None
    if scene is not None:
        _let_go(job, scene)


def register() -> None:
    bpy.utils.register_class(TakeRest)
    jobs.on_frame("live", _framed)
    jobs.on_finished("live", _ended)
    jobs.on_broken_off("live", _ended)


def unregister() -> None:
    bpy.utils.unregister_class(TakeRest)
