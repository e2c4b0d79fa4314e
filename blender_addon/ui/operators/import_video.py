# SPDX-License-Identifier: GPL-3.0-or-later
"""Step 1: a video becomes a clip folder (frames, crop, mattes)."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import BoolProperty

from ... import preferences
from ...client import jobs, session
from ...client.link import LinkError
from . import common


class ImportVideo(common.JobOperator, bpy.types.Operator):
    """Read the video, crop it around the head and separate the person from the background"""

    bl_idname = "blendsplat.import_video"
    bl_label = "Import Video"
    kind = "import"
    overwrite: BoolProperty(
        name="Replace",
        default=False,
        options={"SKIP_SAVE"},
        description="Replace the clip that is already in the folder",
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        video = common.video_of(context.scene)
        if video is None:
            return "Choose a video first."
        if not video.exists() and not session.remote():
            where = " on this computer" if session.elsewhere() else ""
            return f"There is no file {video}{where}."
        settings = context.scene.blendsplat
        if 0 < settings.end <= settings.start:
            return "The end of the trim lies before its start."
        directory = common.directory_of(context.scene)
        if common.live_avatar_of(directory) is not None or common.is_broken_off(directory):
            return f"{directory.name} is a take of Live Capture: choose another clip folder, or empty the field."
        return common.cannot_start(cls.kind, directory)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        directory = common.directory_of(context.scene)
        if directory is not None and (directory / "clip.json").exists():
            self.overwrite = True
            return context.window_manager.invoke_confirm(self, _event)
        return self.execute(context)

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        settings = context.scene.blendsplat
        directory, video = common.directory_of(context.scene), common.video_of(context.scene)
        assert directory is not None and video is not None  # poll
        params: dict[str, Any] = {
            "video": session.engine_path(video), "directory": session.engine_path(directory), "start": settings.start,
            "size": settings.size, "matte": settings.matte, "overwrite": self.overwrite,
        }  # fmt: skip
        if settings.end > 0:
            params["end"] = settings.end
        if not settings.crop_auto:
            params["crop"] = [round(value) for value in settings.crop]
        if settings.matte == "folder":
            folder = common.path_of(settings.matte_folder)
            if folder is None:
                raise ValueError("Choose the folder of masks.")
            params["matte"] = session.engine_path(folder)
        if landmarker := preferences.get().landmarker:
            params["landmarker"] = session.engine_path(landmarker)
        return params


def _finished(job: jobs.Job) -> None:
    """An engine on another machine may have written where this one cannot look. Raises LinkError."""
    if sentence := session.unseen(f"{job.params['directory']}/clip.json"):
        raise LinkError(sentence)


def register() -> None:
    bpy.utils.register_class(ImportVideo)
    jobs.on_finished("import", _finished)


def unregister() -> None:
    bpy.utils.unregister_class(ImportVideo)
