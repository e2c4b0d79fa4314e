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
from ...scene import head_rig, linked, matched_camera, scene_match, tracking_quality, tracking_view
from . import common, results

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
        imported = directory is not None and ((directory / "clip.json").exists() or common.is_broken_off(directory))
        if directory is None or not (imported or session.remote()):
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
        settings = context.scene.blendsplat
        params["refine"], params["zooms"] = "dense" if settings.refine else "none", settings.zooms
        if settings.lens == "given":
            params["focal"], params["lens_shift"] = settings.focal_length, list(settings.lens_shift)
        if params["init"] == "kaolrm":
            params["weights"] = session.weights()
        if landmarker := preferences.get().landmarker:
            params["landmarker"] = session.engine_path(landmarker)
        return params

    def tell(self, job: jobs.Job) -> None:
        for remark in job.remarks:
            self.report({"WARNING"}, remark)


class KeepLens(common.Grey, bpy.types.Operator):
    """Take the focal length that was found for known, so that tracking again does not change it"""

    bl_idname = "blendsplat.keep_lens"
    bl_label = "Keep the Found One"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        directory = common.directory_of(context.scene)
        if directory is None or not (directory / "tracking.npz").exists():
            return "Track the clip first."
        return ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings, directory = context.scene.blendsplat, common.directory_of(context.scene)
        try:
            lens = formats.lens_of(directory, formats.read_performance(directory))
        except formats.FileError as error:
            return self.failed(context, str(error))
        settings.focal_length, settings.lens_shift = lens[0], [0.0 if abs(x) < 1e-5 else x for x in lens[1:]]
        settings.lens = "given"
        return self.solved(context)


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
        return outdated(directory) or results.busy(context.scene) or common.cannot_ask(context.scene, TOPIC)

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            errand = fetch_head(context.scene, common.directory_of(context.scene), wait=self.wait or None)
        except formats.FileError as error:
            return self.failed(context, str(error))
        self.solved(context)
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

    def build(context: bpy.types.Context, rig: formats.Rig) -> None:
        add_head(context, directory, performance, rig)

    def then(result: Any, arrays: dict[str, Any]) -> None:
        rig = formats.rig_from(result if isinstance(result, dict) else {}, arrays, directory)
        if (scene := place.find()) is not None:
            results.bring(scene, "track", "Add Tracked Head", directory, lambda context: build(context, rig))

    asked = {"directory": session.engine_path(directory)}
    errand = session.ask("head.rig", asked, then=then, topic=TOPIC, wait=wait)
    errand.home = place
    return errand


def add_head(
    context: bpy.types.Context, directory: Path, performance: formats.Performance, rig: formats.Rig
) -> bpy.types.Object:
    """Head, camera and background of a tracked clip."""
    scene, name = context.scene, common.clip_name(directory)
    known, untouched = head_rig.find_head(scene, rig), scene_match.is_untouched(scene)
    head = known or head_rig.build_head(context, rig, name)
    start = scene.blendsplat.performance_start
    if scene.blendsplat.match_scene:
        scene.blendsplat.scene_note = scene_match.match(scene, performance, start, untouched=untouched)
    head.blendsplat.clip_path, head.blendsplat.clip_start = kept(directory), start
    play(scene, head, performance)
    camera = matched_camera.add_camera(context, performance, linked.collections_for(head, scene)[0], directory, start)
    if known is None:
        tracking_view.look_through(context, head, camera)
    else:
        tracking_view.renew(head)
    scene.blendsplat.performance = kept(performance.path)
    return head


def play(scene: bpy.types.Scene, head: bpy.types.Object, performance: formats.Performance) -> None:
    """Key the head from its clip's performance, and how good that is."""
    start, fps = head.blendsplat.clip_start, scene.render.fps / scene.render.fps_base
    head_rig.apply_performance(head, performance, start, fps)
    tracking_quality.write(head, performance, start, fps)


def _finished(job: jobs.Job) -> session.Errand | None:
    scene = common.scene_working_in(job)
    if scene is None or not preferences.get().add_results:
        return None
    return fetch_head(scene, common.directory_of(scene))


def register() -> None:
    bpy.utils.register_class(Track)
    bpy.utils.register_class(KeepLens)
    bpy.utils.register_class(AddHead)
    jobs.on_finished("track", _finished)


def unregister() -> None:
    bpy.utils.unregister_class(AddHead)
    bpy.utils.unregister_class(KeepLens)
    bpy.utils.unregister_class(Track)
