# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps share: where files lie, starting a job and, in background, waiting for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty

from .. import jobs, preferences, session
from ..engine_link import LinkError


def path_of(text: str) -> Path | None:
    """A path property as an absolute path; None when it is empty."""
    text = text.strip().strip('"')
    return Path(bpy.path.abspath(text)) if text else None


def video_of(scene: bpy.types.Scene) -> Path | None:
    """The chosen video; of an image sequence, whose first image was picked, its folder."""
    path = path_of(scene.blendsplat.video)
    if path is not None and path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"):
        return path.parent
    return path


def directory_of(scene: bpy.types.Scene) -> Path | None:
    """The clip's folder: the chosen one, else one beside the video."""
    chosen = path_of(scene.blendsplat.directory)
    if chosen is not None:
        return chosen
    video = video_of(scene)
    return video.with_name(f"{video.stem} avatar") if video is not None else None


def output_of(scene: bpy.types.Scene) -> Path | None:
    """The avatar file that training writes."""
    chosen = path_of(scene.blendsplat.output)
    directory = directory_of(scene)
    if chosen is not None:
        if chosen.is_dir() and directory is not None:
            chosen = chosen / directory.name
        return chosen if chosen.name.endswith(".avatar.npz") else chosen.with_name(chosen.name + ".avatar.npz")
    return directory / f"{clip_name(directory)}.avatar.npz" if directory is not None else None


def clip_name(directory: Path) -> str:
    """A short name for collections and files."""
    return directory.name.removesuffix(" avatar") or "Clip"


def remote() -> bool:
    """The engine runs elsewhere: files that only it can see are not checked for here."""
    prefs = preferences.get()
    return prefs.engine_kind == "COMMAND" and bool(prefs.path_here and prefs.path_there)


class Grey:
    """A poll that says why: ``reason(context)`` returns a sentence, or "" when the button may be pressed."""

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return ""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        sentence = cls.reason(context)
        if sentence:
            cls.poll_message_set(sentence)  # type: ignore[attr-defined]
        return not sentence


def no_engine(_context: bpy.types.Context) -> str:
    """Why no job can start now, or ""."""
    job = jobs.running()
    if job is not None:
        return f"{jobs.TITLES.get(job.kind, job.kind)} is running: wait for it or cancel it."
    try:
        if not session.engine_command():
            return "No engine yet: install it, or point at one, in the Engine panel."
    except LinkError as error:
        return str(error)
    return ""


class JobOperator(Grey):
    """Mix-in: starts a job of ``kind``; in background, or when asked to, waits for its end."""

    kind = ""
    wait: BoolProperty(
        name="Wait",
        default=False,
        options={"SKIP_SAVE", "HIDDEN"},
        description="Return when the job has ended (for scripts)",
    )

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        """The job's parameters. Raises ValueError with a sentence."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            params = self.parameters(context)
            job = jobs.start(self.kind, params, {"scene": context.scene.name})
            if not (self.wait or bpy.app.background):
                return {"FINISHED"}
            jobs.wait(job, tick=progress_line() if bpy.app.background else None)
        except (LinkError, ValueError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if job.state != "done":
            self.report({"ERROR"}, job.status())
            return {"CANCELLED"}
        return {"FINISHED"}


def progress_line() -> Callable[[jobs.Job], None]:
    """A function that prints a job's status whenever it has moved on (for blender -b)."""
    last = [""]

    def tick(job: jobs.Job) -> None:
        line = f"{jobs.TITLES.get(job.kind, job.kind)}: {job.fraction:4.0%} {job.stage}"
        if line != last[0] and job.state == "running":
            last[0] = line
            print(line, flush=True)

    return tick


def scenes_of(job: jobs.Job) -> list[bpy.types.Scene]:
    """The scenes that still work on the job's folder: the file may have been closed and another one opened."""
    directory = job.params.get("directory")
    wanted = job.context.get("scene")
    return [
        scene for scene in sorted(bpy.data.scenes, key=lambda item: item.name != wanted)
        if (folder := directory_of(scene)) is not None and session.engine_path(folder) == directory
    ]  # fmt: skip


def add_result(job: jobs.Job, build: Callable[[bpy.types.Context, bpy.types.Scene], None], message: str) -> None:
    """Add a job's result to the first scene that works on it, as one undo step, when the preferences say so."""
    scenes = scenes_of(job)
    if not scenes or not preferences.get().add_results:
        return
    window = next((w for w in bpy.context.window_manager.windows if w.scene == scenes[0]), None)
    override: dict[str, Any] = {"scene": scenes[0]}
    if window is not None:
        override = {"window": window, "scene": scenes[0]}
    elif bpy.context.scene != scenes[0]:
        override["view_layer"] = scenes[0].view_layers[0]
    with bpy.context.temp_override(**override):
        build(bpy.context, scenes[0])
        if not bpy.app.background:
            bpy.ops.ed.undo_push(message=message)
