# SPDX-License-Identifier: GPL-3.0-or-later
"""Between tracking and training: look whether the head lies on the clip, find bad moments, correct frames by hand."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy.props import IntProperty

from ... import formats
from ...client import jobs, session
from ...paths import absolute, home_of, kept
from ...scene import avatar_rig, corrections, fit_scene, head_rig, matched_camera, tracking_quality, tracking_view
from . import common, editors, results, track

WORST = 3  # moments that the panel lists
PARTS = 8  # stretches of doubtful parts that the panel lists
_RANKED = 20  # moments that the button goes through
_NO_HEAD = "Track a clip and add its head first."


def tracked_heads(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The scene's heads that were tracked in clips."""
    return [item for item in scene.objects if item.blendsplat.kind == "HEAD" and not fit_scene.is_fitted(item)]


def meant_head(context: bpy.types.Context) -> bpy.types.Object | None:
    """The active object's tracked head (it, its armature, camera or avatar), else that of the chosen folder's clip,
    else the only or first one."""
    heads = tracked_heads(context.scene)
    active = context.view_layer.objects.active if context.view_layer is not None else None
    for head in heads:
        if active is not None and (
            active in (head, head.blendsplat.rig, matched_camera.camera_of(head)) or active.blendsplat.head == head
        ):
            return head
    folder = common.directory_of(context.scene)
    of_folder = [head for head in heads if folder is not None and clip_of(context.scene, head) == folder]
    return (of_folder or heads or [None])[0]


def clip_of(scene: bpy.types.Scene, head: bpy.types.Object) -> Path | None:
    """The folder of the head's clip."""
    return absolute(head.blendsplat.clip_path, home_of(head, "clip_path")) or common.directory_of(scene)


def start_of(scene: bpy.types.Scene, head: bpy.types.Object) -> float:
    """The frame of the timeline at which the clip begins; heads of earlier versions do not remember it."""
    return head.blendsplat.clip_start if head.blendsplat.clip_path else float(scene.blendsplat.performance_start)


def corrected_frames(scene: bpy.types.Scene, head: bpy.types.Object) -> list[tuple[int, int]]:
    """(row of the clip, frame of the timeline) of every correction; panels ask this all the time, so files are read
    once."""
    folder = clip_of(scene, head)
    if folder is None:
        return []
    paths = (folder / "corrections.npz", folder / "tracking.npz")
    try:
        rows, times = _corrected(*paths, *(path.stat().st_mtime_ns for path in paths))
    except OSError:
        return []
    start, fps = start_of(scene, head), _fps(scene)
    return [(row, round(start + time * fps)) for row, time in zip(rows, times, strict=True)]


@lru_cache(maxsize=8)
def _corrected(file: Path, tracking: Path, _changed: int, _tracked: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    try:
        rows = formats.read_corrections(file.parent)["frames"]
        times = formats.read_performance(tracking).timestamps
    except (formats.FileError, KeyError):
        return (), ()
    rows = rows[(rows >= 0) & (rows < len(times))]
    return tuple(map(int, rows)), tuple(map(float, times[rows]))


def ranked(scene: bpy.types.Scene, head: bpy.types.Object, count: int = _RANKED) -> list[tuple[int, float]]:
    """(frame, quality) of the doubtful moments that nobody corrected yet, the worst first."""
    quality = tracking_quality.read(head)
    if quality is None:
        return []
    done = np.array([frame for _, frame in corrected_frames(scene, head)])
    limit = scene.blendsplat.quality_limit
    return [(frame, value) for frame, value in quality.worst(count, done) if value < limit]


def doubted(scene: bpy.types.Scene, head: bpy.types.Object) -> list[tracking_quality.Doubt]:
    """Where the pictures do not confirm parts of the head's face."""
    return tracking_quality.doubts(head, _fps(scene))


def longest(doubts: list[tracking_quality.Doubt], count: int = PARTS) -> list[tracking_quality.Doubt]:
    """The ``count`` longest ones, in the timeline's order."""
    kept = sorted(doubts, key=lambda doubt: doubt.first - doubt.last)[:count]
    return [doubt for doubt in doubts if doubt in kept]


class LookThroughClip(common.Grey, bpy.types.Operator):
    """Look through the clip's camera, the clip behind and the head over it. The view is put back by Back to My View"""

    bl_idname = "blendsplat.look_through_clip"
    bl_label = "Look Through the Clip"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if meant_head(context) is not None else _NO_HEAD

    def execute(self, context: bpy.types.Context) -> set[str]:
        head = meant_head(context)
        if not tracking_view.look_through(context, head, matched_camera.camera_of(head)):
            self.report({"ERROR"}, "There is no 3D view in this window.")
            return {"CANCELLED"}
        return {"FINISHED"}


class BackToMyView(common.Grey, bpy.types.Operator):
    """Give the 3D view and the head the look that they had before"""

    bl_idname = "blendsplat.back_to_my_view"
    bl_label = "Back to My View"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if tracking_view.looks(context.screen) else "The view is your own already."

    def execute(self, context: bpy.types.Context) -> set[str]:
        tracking_view.put_back(context)
        return {"FINISHED"}


class GoToFrame(bpy.types.Operator):
    """Go to this frame"""

    bl_idname = "blendsplat.go_to_frame"
    bl_label = "Go to Frame"
    frame: IntProperty(name="Frame", options={"HIDDEN"}, description="The frame of the timeline to go to")

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.frame_set(self.frame)
        return {"FINISHED"}


class GoToDoubt(bpy.types.Operator):
    """Go to the first frame in which this part of the face is covered, blurred or badly lit"""

    bl_idname = "blendsplat.go_to_doubt"
    bl_label = "Go to Doubtful Part"
    frame: IntProperty(name="Frame", options={"HIDDEN"}, description="The frame of the timeline to go to")

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.frame_set(self.frame)
        return {"FINISHED"}


class GoToWorst(common.Grey, bpy.types.Operator):
    """Go to the worst moment of the tracking; pressed again, to the next worse one. Corrected frames are left out"""

    bl_idname = "blendsplat.go_to_worst"
    bl_label = "Go to Worst Frame"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head = meant_head(context)
        if head is None:
            return _NO_HEAD
        if tracking_quality.read(head) is None:
            return "This tracking does not say how good it is: track the clip again."
        return "" if ranked(context.scene, head, 1) else "No frame is worse than the limit."

    def execute(self, context: bpy.types.Context) -> set[str]:
        scene = context.scene
        frames = [frame for frame, _ in ranked(scene, meant_head(context))]
        now = scene.frame_current
        scene.frame_set(frames[(frames.index(now) + 1) % len(frames)] if now in frames else frames[0])
        return {"FINISHED"}


class ShowCurves(common.Grey, bpy.types.Operator):
    """Show quality, landmark error, confidence and the doubtful parts of the face over the timeline, in a Graph Editor
    in a window of its own. The head is selected for it"""

    bl_idname = "blendsplat.show_curves"
    bl_label = "Show Over the Timeline"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head = meant_head(context)
        if head is None:
            return _NO_HEAD
        if head.name not in context.view_layer.objects:
            return f"{head.name} is not in this view layer."
        if tracking_quality.read(head) is None:
            return "This tracking does not say how good it is: track the clip again."
        return results.busy(context.scene)

    def execute(self, context: bpy.types.Context) -> set[str]:
        head = meant_head(context)
        tracking_quality.unfold_curves(head, _fps(context.scene))
        for item in context.view_layer.objects:
            item.select_set(item == head)
        context.view_layer.objects.active = head
        area = editors.editor(context, "GRAPH_EDITOR", new=True)  # not the artist's own, whose filters are his
        if area is not None:
            space = area.spaces.active
            space.use_normalization, space.show_region_ui = True, False  # percent beside shares
            space.dopesheet.show_only_selected, space.dopesheet.show_shapekeys = True, False
        return {"FINISHED"}


class PoseHead(common.Grey, bpy.types.Operator):
    """Take hold of the head's bone: R turns it, G moves it, I keys it. Jaw and eyes have bones as well"""

    bl_idname = "blendsplat.pose_head"
    bl_label = "Turn the Head"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head = meant_head(context)
        if head is None:
            return _NO_HEAD
        rig = head.blendsplat.rig
        return "" if rig is not None and rig.name in context.view_layer.objects else "The head's armature is gone."

    def execute(self, context: bpy.types.Context) -> set[str]:
        rig = meant_head(context).blendsplat.rig
        active = context.view_layer.objects.active
        if active is not None and active.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        for item in context.view_layer.objects:
            item.select_set(item == rig)
        context.view_layer.objects.active = rig
        bpy.ops.object.mode_set(mode="POSE")
        corrections.choose_bone(rig)
        tracking_view.show_bones(context.screen)
        return {"FINISHED"}


class CorrectFrame(common.JobOperator, bpy.types.Operator):
    """Keep the head as you have put it in this frame (turn or move its bones, or drag sliders), and fit the frames
    around again"""

    bl_idname = "blendsplat.correct_frame"
    bl_label = "Correct This Frame"
    kind = "correct"

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head = meant_head(context)
        if head is None:
            return _NO_HEAD
        folder = clip_of(context.scene, head)
        if folder is None or not (folder / "tracking.npz").exists():
            return f"The head's clip is no longer in {folder}."
        if any(carrier.blendsplat.foreign for carrier in _avatars(context.scene, head)):
            return "The head plays another clip's performance: apply its own clip's first."
        return track.outdated(folder) or common.cannot_start(cls.kind, folder)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        scene, head = context.scene, meant_head(context)
        folder = clip_of(scene, head)
        context.view_layer.update()
        try:
            performance = formats.read_performance(folder)
            head_rig.check_performance(head, performance)
            seen = _seen(scene, head, performance)
            path = formats.add_correction(folder, performance, seen.row, seen.frame, seen.changed)
        except formats.FileError as error:
            raise ValueError(str(error)) from error
        self.report({"INFO"}, f"Frame {scene.frame_current}: {seen.words()} corrected.")
        return {
            "directory": session.engine_path(folder), "corrections": session.engine_path(path), "overlay": False,
        }  # fmt: skip

    def notes(self, context: bpy.types.Context) -> dict[str, Any]:
        return {**super().notes(context), "head": meant_head(context).name}


class ForgetCorrection(common.JobOperator, bpy.types.Operator):
    """Take this frame's correction back: the frames around are as they were tracked"""

    bl_idname = "blendsplat.forget_correction"
    bl_label = "Forget This Correction"
    kind = "correct"
    row: IntProperty(options={"HIDDEN", "SKIP_SAVE"}, default=-1, description="The clip's row; -1: the current frame's")

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head = meant_head(context)
        if head is None or not corrected_frames(context.scene, head):
            return "No frame was corrected."
        return common.cannot_start(cls.kind, clip_of(context.scene, head))

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        scene, head = context.scene, meant_head(context)
        known = corrected_frames(scene, head)
        row = self.row if self.row >= 0 else next((row for row, frame in known if frame == scene.frame_current), -1)
        if row not in [row for row, _ in known]:
            raise ValueError("This frame was not corrected.")
        return {"directory": session.engine_path(clip_of(scene, head)), "forget": row, "overlay": False}

    def notes(self, context: bpy.types.Context) -> dict[str, Any]:
        return {**super().notes(context), "head": meant_head(context).name}


def _seen(scene: bpy.types.Scene, head: bpy.types.Object, performance: formats.Performance) -> corrections.Shown:
    """What the head does now. Raises ValueError where there is nothing to keep."""
    start, fps, frame = start_of(scene, head), _fps(scene), scene.frame_current_final
    row = corrections.row_at(performance, start, fps, frame)
    if row is None:
        raise ValueError("The clip has no image at this frame: go to one that it shows.")
    seen = corrections.shown(head, matched_camera.camera_of(head), performance, row, start, fps, frame)
    if not seen.changed.any():
        raise ValueError(
            "Nothing differs from the tracking in this frame: turn or move the head's bones, or drag a slider, first."
        )
    return seen


def _finished(job: jobs.Job) -> None:
    """The corrected performance onto the head, its avatars and the panel's curves."""
    place = job.context.get("place")
    scene = place.find() if place is not None else None
    folder = session.local_path(str(job.params["directory"]))
    (folder / "corrections.new.npz").unlink(missing_ok=True)
    head = scene.objects.get(job.context.get("head", "")) if scene is not None else None
    if head is None or head.blendsplat.kind != "HEAD":
        return  # the file was closed: the result is in the clip's folder
    performance = formats.read_performance(folder)

    def build(_context: bpy.types.Context) -> None:
        head.blendsplat.clip_start = start_of(scene, head)
        head.blendsplat.clip_path = kept(folder)
        corrections.settle(head, matched_camera.camera_of(head), performance)
        track.play(scene, head, performance)
        for carrier in _avatars(scene, head):
            start = head.blendsplat.clip_start
            avatar_rig.apply_performance(carrier, performance, start, _fps(scene), foreign=carrier.blendsplat.foreign)
        scene.frame_set(scene.frame_current)

    common.in_scene(scene, build, "Correct This Frame")


def _avatars(scene: bpy.types.Scene, head: bpy.types.Object) -> list[bpy.types.Object]:
    """What the head moves."""
    return [item for item in scene.objects if item.blendsplat.kind == "AVATAR" and item.blendsplat.head == head]


def _fps(scene: bpy.types.Scene) -> float:
    return scene.render.fps / scene.render.fps_base


CLASSES = (
    LookThroughClip, BackToMyView, GoToFrame, GoToDoubt, GoToWorst, ShowCurves, PoseHead, CorrectFrame,
    ForgetCorrection,
)  # fmt: skip


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    jobs.on_finished("correct", _finished)


def unregister() -> None:
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
