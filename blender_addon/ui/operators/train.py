# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 3: the avatar is trained; cancelling keeps what is learned, and training again continues from there."""

from __future__ import annotations

import json
from typing import Any

import bpy
from bpy.props import StringProperty

from ... import preferences
from ...client import jobs, session
from . import avatar, common


class Train(common.JobOperator, bpy.types.Operator):
    """Train the avatar from the tracked clip. Training again continues from where it was cancelled"""

    bl_idname = "blendsplat.train"
    bl_label = "Train Avatar"
    kind = "train"
    overrides: StringProperty(
        name="Overrides",
        options={"SKIP_SAVE", "HIDDEN"},
        description="Values of the preset to change, as JSON (for scripts)",
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        directory = common.directory_of(context.scene)
        if directory is None or (not (directory / "tracking.npz").exists() and not common.remote()):
            return "Track the clip first."
        return common.cannot_start(cls.kind, directory)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        scene = context.scene
        overrides = json.loads(self.overrides or "{}")  # its error is a ValueError with the place
        return {
            "directory": session.engine_path(common.directory_of(scene)), "preset": scene.blendsplat.preset,
            "output": session.engine_path(common.output_of(scene)), "overrides": overrides, "device": session.device(),
        }  # fmt: skip


class CancelJob(bpy.types.Operator):
    """Stop the running step; what is finished so far is kept"""

    bl_idname = "blendsplat.cancel_job"
    bl_label = "Cancel"
    kind: StringProperty(
        name="Kind",
        options={"SKIP_SAVE", "HIDDEN"},
        description="The kind of job to stop; empty: the one that was started last (for scripts)",
    )

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return jobs.running() is not None

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
        context.scene.blendsplat.avatar_file = str(path)
        avatar.add_avatar(context, path, directory / "tracking.npz")

    common.in_scene(scene, build, "Add Avatar")


def register() -> None:
    bpy.utils.register_class(Train)
    bpy.utils.register_class(CancelJob)
    jobs.on_finished("train", _finished)


def unregister() -> None:
    bpy.utils.unregister_class(CancelJob)
    bpy.utils.unregister_class(Train)
