# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 2: the head is tracked through the clip and comes into the scene with its animation, camera and background."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import bpy

from ... import formats, preferences
from ...client import jobs, session
from ...paths import kept
from ...scene import head_rig, matched_camera
from . import common

TOPIC = "head"  # what panels find a head on its way by
_EARLIER = (
    "This clip was tracked with the head of earlier versions, which is no longer made: press Track Head again. Avatars "
    "that were trained with it still open."
)


class Track(common.JobOperator, bpy.types.Operator):
    """Find the head in every frame: its shape, its expression, where it looks, and the camera"""

    bl_idname = "blendsplat.track"
    bl_label = "Track Head"
    kind = "track"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        directory = common.directory_of(context.scene)
        if directory is None or (not (directory / "clip.json").exists() and not common.remote()):
            return "Import a video first."
        if context.scene.blendsplat.track_init == "kaolrm" and session.weights() in ("", "none"):
            return "Choose a face network in the preferences, or start from the landmarks."
        return common.cannot_start(cls.kind, directory)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        params: dict[str, Any] = {
            "directory": session.engine_path(common.directory_of(context.scene)),
            "head": common.head_of(context.scene),
            "init": context.scene.blendsplat.track_init,
            "device": session.device(),
        }
        if params["init"] == "kaolrm":
            params["weights"] = session.weights()
        if landmarker := preferences.get().landmarker:
            params["landmarker"] = session.engine_path(landmarker)
        return params

    def tell(self, job: jobs.Job) -> None:
        for remark in job.remarks:
            self.report({"WARNING"}, remark)


class AddHead(common.Grey, bpy.types.Operator):
    """Add the tracked head to the scene: mesh with sliders, bones, camera and the clip behind it, animated"""

    bl_idname = "blendsplat.add_head"
    bl_label = "Add Tracked Head"
    wait: common.WAIT

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        directory = common.directory_of(context.scene)
        if directory is None or not (directory / "tracking.npz").exists():
            return "Track the clip first."
        return outdated(directory) or common.cannot_ask(TOPIC)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            errand = fetch_head(context.scene, common.directory_of(context.scene), wait=self.wait or None)
        except formats.FileError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return common.outcome(self, errand)


def outdated(directory: Path | None) -> str:
    """Why the clip must be tracked again, or ""; panels ask this all the time, so a file is read once."""
    path = directory / "tracking.npz" if directory is not None else None
    try:
        return _outdated(path, path.stat().st_mtime_ns) if path is not None else ""
    except OSError:
        return ""


@lru_cache(maxsize=8)
def _outdated(path: Path, _changed: int) -> str:
    return _EARLIER if formats.is_of_earlier_head(path) else ""


def fetch_head(scene: bpy.types.Scene, directory: Path, *, wait: bool | None = None) -> session.Errand:
    """Ask the engine for the head of a tracked clip; it comes into the scene when it is here, as one undo step.

    Raises FileError when the clip is not tracked.
    """
    performance = formats.read_performance(directory)
    place = common.Place.of(scene)

    def then(result: Any, arrays: dict[str, Any]) -> None:
        rig = formats.rig_from(result if isinstance(result, dict) else {}, arrays, directory)
        if (scene := place.find()) is not None:
            common.in_scene(scene, lambda context: add_head(context, directory, performance, rig), "Add Tracked Head")

    asked = {"directory": session.engine_path(directory)}
    return session.ask("head.rig", asked, then=then, topic=TOPIC, wait=wait)


def add_head(
    context: bpy.types.Context, directory: Path, performance: formats.Performance, rig: formats.Rig
) -> bpy.types.Object:
    """Head, camera and background of a tracked clip."""
    scene, name = context.scene, common.clip_name(directory)
    known = head_rig.find_head(scene, rig)
    head = known or head_rig.build_head(context, rig, name)
    start = scene.blendsplat.performance_start
    if scene.blendsplat.match_scene:
        matched_camera.match_scene(scene, performance, start)
    head_rig.apply_performance(head, performance, start, scene.render.fps / scene.render.fps_base)
    matched_camera.add_camera(context, performance, head.users_collection[0], directory, start)
    if known is None:
        common.look(context)
    scene.blendsplat.performance = kept(performance.path)
    return head


def _finished(job: jobs.Job) -> session.Errand | None:
    scene = common.scene_working_in(job)
    if scene is None or not preferences.get().add_results:
        return None
    return fetch_head(scene, common.directory_of(scene))


def register() -> None:
    bpy.utils.register_class(Track)
    bpy.utils.register_class(AddHead)
    jobs.on_finished("track", _finished)


def unregister() -> None:
    bpy.utils.unregister_class(AddHead)
    bpy.utils.unregister_class(Track)
