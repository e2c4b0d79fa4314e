# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 2: the head is tracked through the clip and comes into the scene with its animation, camera and background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ... import formats, preferences
from ...client import jobs, session
from ...client.link import EngineError, LinkError
from ...scene import head_rig, matched_camera
from . import common


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
        return common.no_engine(context)

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
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        directory = common.directory_of(context.scene)
        if directory is None or not (directory / "tracking.npz").exists():
            return "Track the clip first."
        return common.no_engine(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            add_head(context, common.directory_of(context.scene))
        except (formats.FileError, LinkError, EngineError) as error:
            self.report({"ERROR"}, session.sentence_of(error))
            return {"CANCELLED"}
        return {"FINISHED"}


def add_head(context: bpy.types.Context, directory: Path) -> bpy.types.Object:
    """Head, camera and background of a tracked clip. Raises FileError, LinkError, EngineError."""
    performance = formats.read_performance(directory)
    result, arrays = session.call("head.rig", {"directory": session.engine_path(directory)})
    rig = formats.rig_from(result if isinstance(result, dict) else {}, arrays, directory)
    scene, name = context.scene, common.clip_name(directory)
    head = head_rig.find_head(scene, rig) or head_rig.build_head(context, rig, name)
    start = scene.blendsplat.performance_start
    if scene.blendsplat.match_scene:
        matched_camera.match_scene(scene, performance, start)
    head_rig.apply_performance(head, performance, start, scene.render.fps / scene.render.fps_base)
    matched_camera.add_camera(context, performance, head.users_collection[0], directory, start)
    scene.blendsplat.performance = str(performance.path)
    return head


def _finished(job: jobs.Job) -> None:
    def build(context: bpy.types.Context, scene: bpy.types.Scene) -> None:
        add_head(context, common.directory_of(scene))

    common.add_result(job, build, "Add Tracked Head")


def register() -> None:
    bpy.utils.register_class(Track)
    bpy.utils.register_class(AddHead)
    jobs.on_finished("track", _finished)


def unregister() -> None:
    bpy.utils.unregister_class(AddHead)
    bpy.utils.unregister_class(Track)
