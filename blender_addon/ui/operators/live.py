# SPDX-License-Identifier: GPL-3.0-or-later
"""Live Capture: a camera is tracked and learned from while it runs; starting, holding, stopping, going on offline."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import bpy

from ... import preferences
from ...client import jobs, pump, session
from ...file_names import portable_name
from ...paths import kept
from ...scene import live_avatar
from .. import live_sources
from . import common, drive_live, live_results, train

_OFFLINE_PRESET = "draft"  # whose Gaussians are those of the live preset
_NOT_RUNNING = "No live capture is running."


class StartLive(common.JobOperator, bpy.types.Operator):
    """Track and learn the person in front of the camera, at once; the avatar turns up in the 3D view while it runs"""

    bl_idname = "blendsplat.start_live"
    bl_label = "Start Capture"
    kind = "live"
    overrides: common.OVERRIDES

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        settings = context.scene.blendsplat.live
        video = common.path_of(settings.video)
        if settings.source == "STREAM" and "://" not in settings.address:
            return "Say the stream's address, such as rtsp://camera.local/stream."
        if settings.source == "FILE" and video is None:
            return "Choose the video file that is played."
        if settings.source == "FILE" and not video.is_file() and not session.remote():
            return f"There is no file {video}."
        return common.cannot_start(cls.kind)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        settings, directory = context.scene.blendsplat.live, free_take(context.scene)
        if (self.wait or pump.synchronous()) and settings.source != "FILE" and settings.seconds <= 0:
            raise ValueError("Nobody could stop it: say how long the take is (Take Length), or do not wait.")
        params: dict[str, Any] = {
            "source": _source(settings), "directory": session.engine_path(directory),
            "output": session.engine_path(directory / f"{portable_name(directory.name)}.avatar.npz"),
            "preset": live_sources.chosen_preset(settings), "mirror": settings.mirror,
            "overrides": json.loads(self.overrides or "{}"),  # its error is a ValueError with the place
            "head": common.head_of(context.scene), "device": session.device(),
        }  # fmt: skip
        if drive_live.chosen(context.scene) is not None:
            params["drive"], params["learn"] = True, settings.learn
        if settings.seconds > 0:
            params["seconds"] = settings.seconds
        if settings.film:
            params["preview"] = session.engine_path(directory / f"{portable_name(directory.name)} preview.mp4")
        if landmarker := preferences.get().landmarker:
            params["landmarker"] = session.engine_path(landmarker)
        settings.take = kept(directory)
        return params

    def tell(self, job: jobs.Job) -> None:
        for remark in job.remarks:
            self.report({"WARNING"}, remark)


class PauseLive(common.Grey, bpy.types.Operator):
    """Hold the capture, or let it go on: while it is held nothing is recorded, and learning goes on"""

    bl_idname = "blendsplat.pause_live"
    bl_label = "Pause"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return _cannot_tell(context.scene)

    def execute(self, context: bpy.types.Context) -> set[str]:
        job = live_results.running(context.scene)
        paused = not job.context.get("paused", False)
        job.context["paused"] = paused

        def heard(accepted: bool) -> None:
            if not accepted:
                job.context["paused"] = not paused

        jobs.send_frame(job, {}, {"pause": paused}, heard)
        return {"FINISHED"}


class StopLive(common.Grey, bpy.types.Operator):
    """End the capture. The take becomes the scene's clip; its tracked head and the avatar come into the scene"""

    bl_idname = "blendsplat.stop_live"
    bl_label = "Stop"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        job = live_results.running(context.scene)
        if job is None:
            return _NOT_RUNNING
        return "It is ending: avatar and take are being saved." if live_results.is_ending(job) else ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        live_results.stop(live_results.running(context.scene))
        return {"FINISHED"}


class AddTake(common.Grey, bpy.types.Operator):
    """Make the take that was captured last the scene's clip, and add its tracked head and its avatar"""

    bl_idname = "blendsplat.add_take"
    bl_label = "Add the Latest Take"
    wait: common.WAIT

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        take = common.path_of(context.scene.blendsplat.live.take)
        if take is None or not (take / "clip.json").is_file():
            return "There is no take: capture one first."
        if live_results.running(context.scene) is not None:
            return "A capture is running: stop it first."
        return common.cannot_ask(context.scene, live_results.TOPIC)

    def execute(self, context: bpy.types.Context) -> set[str]:
        take = common.path_of(context.scene.blendsplat.live.take)
        errand = live_results.fetch(common.Place.of(context.scene), take, wait=self.wait or None)
        if errand.state != "failed":
            self.solved(context)
        return common.outcome(self, errand)


class ContinueOffline(common.Grey, bpy.types.Operator):
    """Train on from the captured avatar with all frames of the take, as finely as the preset Draft does. The avatar in
    the scene becomes better; nothing is filmed any more"""

    bl_idname = "blendsplat.continue_offline"
    bl_label = "Continue Offline"
    wait: common.WAIT

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if common.live_avatar_of(common.directory_of(context.scene)) is None:
            return "Capture an avatar first: there is none to go on from in the clip's folder."
        return train.Train.reason(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.blendsplat
        settings.go_on_live, settings.preset_name = True, _OFFLINE_PRESET
        try:
            return bpy.ops.blendsplat.train(wait=self.wait)
        except RuntimeError as error:
            self.report({"ERROR"}, str(error).removeprefix("Error: ").strip())
            return {"CANCELLED"}


class FindCameras(common.Grey, bpy.types.Operator):
    """Look for the cameras of the computer on which the engine runs"""

    bl_idname = "blendsplat.find_cameras"
    bl_label = "Find Cameras"
    wait: common.WAIT

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return common.cannot_ask(context.scene, live_sources.TOPIC)

    def execute(self, context: bpy.types.Context) -> set[str]:
        return common.outcome(self, live_sources.look_for_cameras(wait=self.wait or None))


class LookAtLive(common.Grey, bpy.types.Operator):
    """Let the 3D view look at the face of the live avatar, from the front"""

    bl_idname = "blendsplat.look_at_live"
    bl_label = "Look at the Avatar"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        if live_avatar.of(context.scene) is None:
            return "There is no live avatar yet: it comes when the face has been seen for some seconds."
        return ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        live_results.look_at(context, live_avatar.of(context.scene))
        return {"FINISHED"}


def takes_folder(scene: bpy.types.Scene) -> Path:
    """Where takes are kept: the chosen folder, else one beside the saved file, beside the video, or at home."""
    settings = scene.blendsplat.live
    chosen, video = common.path_of(settings.takes), common.path_of(settings.video)
    if chosen is not None:
        return chosen
    if bpy.data.filepath:
        return Path(bpy.data.filepath).parent / "takes"
    if settings.source == "FILE" and video is not None:
        return video.parent / "takes"
    return Path.home() / "Blendsplat takes"


def free_take(scene: bpy.types.Scene) -> Path:
    """The folder of the next take: "Take 1", or the next number that is free."""
    folder = takes_folder(scene)
    return next(path for n in itertools.count(1) if not (path := folder / f"Take {n}").exists())


def _source(settings: Any) -> str:
    """The source as the engine takes it."""
    if settings.source == "STREAM":
        return settings.address.strip()
    if settings.source == "FILE":
        return session.engine_path(common.path_of(settings.video))
    return live_sources.chosen_camera(settings)


def _cannot_tell(scene: bpy.types.Scene) -> str:
    """Why a capture can be told nothing now, or ""."""
    job = live_results.running(scene)
    if job is None:
        return _NOT_RUNNING
    if live_results.is_ending(job):
        return "It is ending: avatar and take are being saved."
    return "" if job.identity is not None else "The engine is starting: wait a moment."


CLASSES = (StartLive, PauseLive, StopLive, AddTake, ContinueOffline, FindCameras, LookAtLive)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    live_results.register()


def unregister() -> None:
    live_results.unregister()
    live_sources.forget()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
