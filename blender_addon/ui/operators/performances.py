# SPDX-License-Identifier: GPL-3.0-or-later
"""Performances from anywhere: read (by the engine, what is not a tracked clip of this head), tried out, applied, heard.

A capture or another tracker's folder becomes a performance of the avatar's head in a file beside the avatar, so that it
is read once.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy.props import EnumProperty

from ... import formats
from ...client import jobs, session
from ...file_names import portable_name
from ...paths import absolute
from ...scene import avatar_rig, head_rig, keyframes, linked, performance_sound, preview_performance, rig_source
from .. import acting
from . import avatar, common, live_results, results

KIND = "reenact"
APPLY, PREVIEW = "APPLY", "PREVIEW"
_FOLDER = "performances"  # beside the avatar's file


class ApplyPerformance(common.Grey, bpy.types.Operator):
    """Bake a performance onto the avatar and its head as keyframes; the file then plays anywhere"""

    bl_idname = "blendsplat.apply_performance"
    bl_label = "Apply Performance"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return cannot_play(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        return play(self, context, APPLY)


class PreviewPerformance(common.Grey, bpy.types.Operator):
    """Let the avatar and its head play the performance without touching their keys: play the timeline, change how it is
    played and press again, then apply it or end the preview"""

    bl_idname = "blendsplat.preview_performance"
    bl_label = "Preview"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return cannot_play(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        return play(self, context, PREVIEW)


class EndPreview(common.Grey, bpy.types.Operator):
    """End the preview: head and avatar have their own keys, sliders and poses again, exactly as they were"""

    bl_idname = "blendsplat.end_preview"
    bl_label = "End Preview"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        return "" if carrier is not None and preview_performance.running(carrier) else "Nothing is previewed."

    def execute(self, context: bpy.types.Context) -> set[str]:
        preview_performance.stop(avatar.selected_avatar(context))
        return self.solved(context)


class ReadPerformance(common.JobOperator, bpy.types.Operator):
    """Let the engine read the chosen capture or recording as a performance of the avatar's head, then apply it"""

    bl_idname = "blendsplat.read_performance"
    bl_label = "Read Performance"
    kind = KIND
    then: EnumProperty(
        name="Then",
        items=[(APPLY, "Apply", "Key it on the avatar"), (PREVIEW, "Preview", "Let the avatar play it on trial")],
        options={"SKIP_SAVE", "HIDDEN"},
        description="What is done with the performance when it is here",
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return cannot_play(context) or common.cannot_start(KIND)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        carrier, path = avatar.selected_avatar(context), chosen(context.scene)
        output = carried_file(path, carrier, context.scene)
        output.parent.mkdir(exist_ok=True)
        params: dict[str, Any] = {
            "avatar": session.engine_path(_avatar_file(carrier)), "performance": session.engine_path(path),
            "output": session.engine_path(output), "relative": False, "device": session.device(),
        }  # fmt: skip
        if context.scene.blendsplat.acting.rate > 0:
            params["fps"] = context.scene.blendsplat.acting.rate
        if context.scene.blendsplat.head == "file":  # a recording moves the head that the artist works with
            params["driver_head"] = common.head_of(context.scene)
        return params

    def notes(self, context: bpy.types.Context) -> dict[str, Any]:
        carrier = avatar.selected_avatar(context)
        told = {"then": self.then, "avatar": carrier.name, "source": chosen(context.scene)}
        return super().notes(context) | told

    def tell(self, job: jobs.Job) -> None:
        for remark in job.remarks:
            self.report({"WARNING"}, remark)


class ExtendRange(common.Grey, bpy.types.Operator):
    """Let the scene end where the avatar's keys do"""

    bl_idname = "blendsplat.extend_range"
    bl_label = "Extend the Scene"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        carrier = avatar.selected_avatar(context)
        if carrier is None:
            return common.NO_AVATAR
        return "" if beyond(context.scene, carrier) else "The scene is long enough."

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.frame_end = beyond(context.scene, avatar.selected_avatar(context))
        return self.solved(context)


class AddSound(common.Grey, bpy.types.Operator):
    """Put the sound of the performance's video into the sequencer, in time with the performance. Press again after
    another start frame, and it moves along"""

    bl_idname = "blendsplat.add_performance_sound"
    bl_label = "Add Its Sound"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        path = chosen(context.scene)
        if not bpy.app.build_options.audaspace:
            return "This Blender was built without sound."
        if path is None:
            return "Choose a performance's file first."
        if performance_sound.source_of(path) is None:
            return (
                "No sound belongs to this performance: neither its clip's video nor a file of its name beside it is "
                "there."
            )
        return ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        scene = context.scene
        file, begins = performance_sound.source_of(chosen(scene))
        try:
            performance_sound.add(scene, file, begins, scene.blendsplat.performance_start)
        except RuntimeError as error:
            return self.failed(context, str(error).removeprefix("Error: ").strip())
        if scene.sync_mode == "NONE":
            scene.sync_mode = "AUDIO_SYNC"
            self.report({"INFO"}, "The scene plays in sync with its sound now, which may leave out frames.")
        return self.solved(context)


def play(operator: common.Grey, context: bpy.types.Context, then: str) -> set[str]:
    """Apply or preview the chosen performance; what the engine must read first, it is asked for."""
    carrier = avatar.selected_avatar(context)
    try:
        performance = ready(context.scene, carrier)
        if performance is not None:
            count = _played(context.scene, carrier, performance, then)
    except formats.FileError as error:
        return operator.failed(context, str(error))
    if performance is None:
        try:
            result = bpy.ops.blendsplat.read_performance(then=then)
        except RuntimeError as error:
            return operator.failed(context, str(error).removeprefix("Error: ").strip())
        return result if "CANCELLED" in result else operator.solved(context)
    for item in (carrier, carrier.blendsplat.head):
        if item is not None and item.blendsplat.remark:
            operator.report({"WARNING"}, item.blendsplat.remark)
    verb = "are previewed" if then == PREVIEW else "keyed"
    operator.report({"INFO"}, f"{count} frames {verb} on {carrier.name}.")
    return operator.solved(context)


def cannot_play(context: bpy.types.Context) -> str:
    """Why the chosen performance cannot be played on the selected avatar, or ""."""
    carrier, settings = avatar.selected_avatar(context), context.scene.blendsplat.acting
    if carrier is None:
        return common.NO_AVATAR
    if sentence := linked.sentence(carrier):
        return sentence
    if is_driven(context.scene, carrier):
        return f"Live Capture drives {carrier.name}: stop it first."
    if settings.source == acting.OBJECT:
        return rig_source.reason(settings.item, carrier)
    path = common.path_of(context.scene.blendsplat.performance)
    if path is None:
        return (
            "Choose a performance: the tracking.npz of a tracked clip, a face capture (.csv, .json), or a folder of "
            "VHAP or metrical-tracker."
        )
    return "" if path.exists() else f"There is no file {path}."


def is_driven(scene: bpy.types.Scene, carrier: bpy.types.Object) -> bool:
    """Whether a live capture moves the avatar now."""
    job = live_results.running(scene)
    return job is not None and bool(job.params.get("drive")) and scene.blendsplat.live.drive == carrier


def chosen(scene: bpy.types.Scene) -> Path | None:
    """The performance's file or folder, where it comes from one."""
    settings = scene.blendsplat
    return common.path_of(settings.performance) if settings.acting.source == acting.FILE else None


def ready(scene: bpy.types.Scene, carrier: bpy.types.Object) -> formats.Performance | None:
    """The chosen performance, of the avatar's head; None where the engine must read it first. Raises FileError."""
    if scene.blendsplat.acting.source == acting.OBJECT:
        return rig_source.read(scene, scene.blendsplat.acting.item, carrier)
    path = chosen(scene)
    if _is_tracked(path):
        performance, head = formats.read_performance(path), carrier.blendsplat.head
        try:
            if head is not None:
                head_rig.check_performance(head, performance)
            return performance
        except formats.FileError:
            if common.no_command() or _avatar_file(carrier) is None:
                raise
    elif _avatar_file(carrier) is None:
        raise formats.FileError(
            f"{path.name} is read with the avatar's file, which is not there: choose it under Its File."
        )
    carried = carried_file(path, carrier, scene)
    return formats.read_performance(carried) if _is_newer(carried, path, _avatar_file(carrier)) else None


def carried_file(path: Path, carrier: bpy.types.Object, scene: bpy.types.Scene) -> Path:
    """Where the engine writes a source as a performance of this avatar's head: a file of its own for each source, and
    for each rate that is said of it."""
    file = _avatar_file(carrier)
    name = path.name if path.is_dir() else path.parent.name if path.stem == "tracking" else path.stem
    told = hashlib.sha256(f"{path} {file.name} {scene.blendsplat.acting.rate:g}".encode()).hexdigest()[:6]
    return file.parent / _FOLDER / f"{portable_name(name)} {told}.npz"


def beyond(scene: bpy.types.Scene, carrier: bpy.types.Object) -> int:
    """The last frame of the avatar's keys (or its head's), where the scene ends before; else 0."""
    head = carrier.blendsplat.head
    owners = [carrier.data.shape_keys, head.data.shape_keys if head is not None else None]
    ends = [
        owner.animation_data.action.frame_range[1] for owner in owners
        if owner is not None and owner.animation_data is not None and owner.animation_data.action is not None
    ]  # fmt: skip
    last = int(max(ends, default=0.0) + 0.5)
    return last if last > scene.frame_end else 0


def rate_sentence(scene: bpy.types.Scene, carrier: bpy.types.Object) -> str:
    """What an artist should know of a performance whose frames do not fall on the scene's."""
    owner = carrier.data.shape_keys
    curve = next(iter(keyframes.fcurves(owner)), None) if owner is not None else None
    if curve is None or len(curve.keyframe_points) < 3:
        return ""
    step = float(np.median(np.diff(keyframes.points(curve)[:, 0])))
    if abs(step - 1) < 0.005 or step <= 0:
        return ""
    rate = scene.render.fps / scene.render.fps_base
    return (
        f"The performance has {rate / step:.4g} frames a second and the scene {rate:.4g}: it keeps its time, so its "
        "keys lie between the frames."
    )


def _played(scene: bpy.types.Scene, carrier: bpy.types.Object, performance: formats.Performance, then: str) -> int:
    """Preview or key a performance -> frames. Raises FileError."""
    start, fps = scene.blendsplat.performance_start, scene.render.fps / scene.render.fps_base
    if then == PREVIEW:
        head = carrier.blendsplat.head
        if head is not None:
            head_rig.check_performance(head, performance)
        return preview_performance.start(carrier, performance, start, fps, acting.chosen(scene))
    preview_performance.stop(carrier)
    whole = acting.chosen(scene).window is None
    if whole and scene.blendsplat.acting.source == acting.FILE and _is_tracked(chosen(scene)):
        return avatar.apply_performance(scene, carrier, performance)
    return avatar_rig.apply_performance(carrier, performance, start, fps, acting=acting.chosen(scene))


def _is_tracked(path: Path) -> bool:
    """Whether it is a performance already, of whatever head."""
    return (path / "tracking.npz").is_file() if path.is_dir() else path.suffix.lower() == ".npz"


def _avatar_file(carrier: bpy.types.Object) -> Path | None:
    path = absolute(carrier.blendsplat.avatar_path, carrier.library)
    return path if path is not None and (path.is_file() or session.remote()) else None


def _is_newer(path: Path, *than: Path) -> bool:
    try:
        return all(path.stat().st_mtime_ns >= other.stat().st_mtime_ns for other in than)
    except OSError:
        return False


def _finished(job: jobs.Job) -> None:
    """What the engine read is played in the scene that asked, or waits for its mode."""
    place, then, name = job.context.get("place"), job.context.get("then"), job.context.get("avatar")
    scene = place.find() if place is not None else None
    if scene is None or then is None:
        return
    performance = formats.read_performance(session.local_path(job.result["output"]))

    def build(context: bpy.types.Context) -> str | None:
        carrier = context.scene.objects.get(name)
        if carrier is None or carrier.blendsplat.kind != "AVATAR":
            return f"The avatar {name} is no longer in the scene; what was read is in {performance.path}."
        _played(context.scene, carrier, performance, then)
        return None

    title = "Preview Performance" if then == PREVIEW else "Apply Performance"
    results.bring(scene, KIND, title, job.context["source"], build)


CLASSES = (ApplyPerformance, PreviewPerformance, EndPreview, ReadPerformance, ExtendRange, AddSound)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    jobs.on_finished(KIND, _finished)


def unregister() -> None:
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
