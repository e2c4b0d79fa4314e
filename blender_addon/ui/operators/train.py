# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 3: the avatar is trained; cancelling keeps what is learned, and training again continues from there."""

from __future__ import annotations

import itertools
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import bpy
from bpy.props import StringProperty

from ... import formats, preferences
from ...client import jobs, session
from ...paths import kept, same
from ...scene import avatar_quality, avatar_rig, networks
from .. import live_sources
from . import avatar, common, results, track


class Train(common.JobOperator, bpy.types.Operator):
    """Train the avatar from the tracked clip. Training again continues from where it was cancelled"""

    bl_idname = "blendsplat.train"
    bl_label = "Train Avatar"
    kind = "train"
    overrides: common.OVERRIDES

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        directory = common.directory_of(context.scene)
        if directory is None or (not (directory / "tracking.npz").exists() and not session.remote()):
            return "Track the clip first."
        preset = context.scene.blendsplat.chosen_preset()
        if not session.knows_preset(preset):
            return f"This engine does not know the preset {preset!r}: choose another one."
        return track.outdated(directory) or common.cannot_start(cls.kind, directory)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        scene = context.scene
        overrides = json.loads(self.overrides or "{}")  # its error is a ValueError with the place
        wanted, preset, start = common.output_of(scene), scene.blendsplat.chosen_preset(), start_of(scene)
        output = target(scene)
        if output != wanted:
            scene.blendsplat.output = kept(output)
            self.report({"INFO"}, f"{wanted.name} is of another preset and stays: {output.name} is trained.")
        params = {
            "directory": session.engine_path(common.directory_of(scene)), "preset": preset,
            "output": session.engine_path(output), "overrides": overrides, "device": session.device(),
        }  # fmt: skip
        if start is not None:
            params["start"] = session.engine_path(start)
        if scene.blendsplat.minutes > 0:
            params["minutes"] = scene.blendsplat.minutes
        return params

    def tell(self, job: jobs.Job) -> None:
        if line := cost_line(job):
            self.report({"INFO"}, line)


def cost_line(job: jobs.Job | None) -> str:
    """What the sliders of the avatar that was trained cost beside its networks, or ""."""
    figures = job.result.get("figures") if job is not None and isinstance(job.result, dict) else None
    known = isinstance(figures, dict) and "sliders_psnr" in figures
    return networks.cost_line(figures) if known else ""


def free_output(wanted: Path, preset: str) -> Path:
    """The avatar file to train, where no finished avatar of another preset is overwritten: ``wanted``, else a name
    beside it, as "NAME PRESET.avatar.npz"."""
    stem = f"{wanted.name.removesuffix('.avatar.npz')} {preset}"
    names = itertools.chain([wanted.name, f"{stem}.avatar.npz"], (f"{stem} {n}.avatar.npz" for n in itertools.count(2)))
    paths = (wanted.with_name(name) for name in names)
    return next(path for path in paths if not path.exists() or _record_of(path).get("preset") == preset)


def start_of(scene: bpy.types.Scene) -> Path | None:
    """The avatar of a live capture that training goes on from instead of beginning anew; None where there is none, or
    the artist wants it otherwise."""
    return common.live_avatar_of(common.directory_of(scene)) if scene.blendsplat.go_on_live else None


def target(scene: bpy.types.Scene) -> Path | None:
    """The avatar file that training now would write: the live capture's own where it goes on from it, else a free
    one."""
    wanted = common.output_of(scene)
    if wanted is None or same(wanted, start_of(scene)):
        return wanted
    return free_output(wanted, scene.blendsplat.chosen_preset())


def goes_on(scene: bpy.types.Scene) -> bool:
    """The scene's avatar is as its live capture has left it, and training would go on from there."""
    start = start_of(scene)
    return start is not None and _record_of(start).get("preset") == live_sources.chosen_preset(scene.blendsplat.live)


def continues(scene: bpy.types.Scene) -> bool:
    """Training now would go on where an earlier one of the same preset was stopped: by a press, by an engine that
    crashed, or by Blender's end. Files tell it, so that it is known after closing."""
    directory, wanted = common.directory_of(scene), common.output_of(scene)
    if directory is None or wanted is None:
        return False
    output = target(scene)
    stem = output.name.removesuffix(".avatar.npz")
    kept_at = changed(output.with_name(f"{stem}.checkpoint.safetensors"))
    if not kept_at or kept_at < changed(directory / "tracking.npz"):  # a checkpoint is of one tracking
        return False
    if changed(output) < kept_at:  # at the end the avatar is written last
        return True
    record = _record_of(output)
    images, planned = record.get("images"), record.get("planned_images")
    return isinstance(images, int) and isinstance(planned, int) and images < planned


def quality(scene: bpy.types.Scene) -> str:
    """How good the clip's trained avatar is, as its file says: "Sharp (31.2 dB)"; "" where nobody measured it."""
    path = target(scene)
    figures = _record_of(path).get("figures") if path is not None else None
    return avatar_quality.line(figures) if isinstance(figures, dict) else ""


def is_trained(scene: bpy.types.Scene) -> bool:
    """The scene's clip has an avatar of its present tracking that was trained to its end."""
    directory, wanted = common.directory_of(scene), common.output_of(scene)
    if directory is None or wanted is None:
        return False
    output = target(scene)
    return changed(output) > changed(directory / "tracking.npz") and not continues(scene)


def changed(path: Path) -> int:
    """When a file was written last, in nanoseconds; 0: there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _record_of(path: Path) -> dict[str, Any]:
    """What an avatar's file says of its training; {} when it does not. Panels ask this all the time."""
    return _read_record(path, changed(path))


@lru_cache(maxsize=16)
def _read_record(path: Path, _changed: int) -> dict[str, Any]:
    try:
        training = formats.read_header(path).get("training")
    except formats.FileError:
        return {}
    return training if isinstance(training, dict) else {}


class CancelJob(common.Grey, bpy.types.Operator):
    """Stop the running step; what is finished so far is kept"""

    bl_idname = "blendsplat.cancel_job"
    bl_label = "Cancel"
    kind: StringProperty(
        name="Kind",
        options={"SKIP_SAVE", "HIDDEN"},
        description="The kind of job to stop; empty: the one that was started last (for scripts)",
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return "" if jobs.running() is not None else "No step is running."

    def execute(self, _context: bpy.types.Context) -> set[str]:
        job = jobs.latest(self.kind) if self.kind else jobs.running()
        if job is not None:
            jobs.cancel(job)
        return {"FINISHED"}


def _finished(job: jobs.Job) -> None:
    scene = common.scene_working_in(job)
    if scene is None or not preferences.get().add_results:
        return
    path, directory = session.local_path(job.params["output"]), common.directory_of(scene)

    def build(context: bpy.types.Context) -> None:
        context.scene.blendsplat.avatar_file = kept(path)
        avatar.add_avatar(context, path, directory / "tracking.npz")

    title = "Update Avatar" if avatar_rig.avatars_of(scene, path) else "Add Avatar"
    results.bring(scene, "train", title, path, build)


def register() -> None:
    bpy.utils.register_class(Train)
    bpy.utils.register_class(CancelJob)
    jobs.on_finished("train", _finished)


def unregister() -> None:
    bpy.utils.unregister_class(CancelJob)
    bpy.utils.unregister_class(Train)
