# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps share: where files lie, starting a job and, in background, waiting for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, StringProperty

from ...client import jobs, pump, session
from ...client.link import LinkError
from ...file_names import name_in
from ...paths import absolute as path_of

NO_AVATAR = "Add an avatar first (or select one)."  # why what is about the selected avatar is grey
_OF_A_CLIP = ("import", "track", "train", "evaluate")  # jobs whose directory is the clip that the scene works on


def is_rendering() -> bool:
    """A render runs beside the window; in background there is no beside."""
    return not bpy.app.background and bpy.app.is_job_running("RENDER")


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
    return video.with_name(name_in(video.parent, f"{video.stem} avatar")) if video is not None else None


def output_of(scene: bpy.types.Scene) -> Path | None:
    """The avatar file that training writes."""
    chosen = path_of(scene.blendsplat.output)
    directory = directory_of(scene)
    if chosen is not None:
        if chosen.is_dir() and directory is not None:
            chosen = chosen / directory.name
        return chosen if chosen.name.endswith(".avatar.npz") else chosen.with_name(chosen.name + ".avatar.npz")
    if directory is None:
        return None
    return directory / f"{name_in(directory, clip_name(directory), '.avatar.npz')}.avatar.npz"


def live_avatar_of(directory: Path | None) -> Path | None:
    """The avatar that a live capture left in a take's folder, with what a training goes on from; None elsewhere."""
    for path in sorted(directory.glob("*.live.safetensors")) if directory is not None else ():
        avatar = path.with_name(path.name.removesuffix(".live.safetensors") + ".avatar.npz")
        if avatar.is_file():
            return avatar
    return None


def is_broken_off(directory: Path | None) -> bool:
    """The folder is a take whose capture did not come to its end: tracking makes a clip of it."""
    return (
        directory is not None and (directory / "live-journal" / "take.json").is_file()
        and not (directory / "clip.json").exists()
    )  # fmt: skip


def clip_name(directory: Path) -> str:
    """A short name for collections and files."""
    return directory.name.removesuffix(" avatar") or "Clip"


def head_of(scene: bpy.types.Scene) -> str:
    """The chosen head model as jobs take it. Raises ValueError."""
    if scene.blendsplat.head != "file":
        return "human"
    path = path_of(scene.blendsplat.head_path)
    if path is None:
        raise ValueError("Choose the file of the head model.")
    return session.engine_path(path)


_problems: dict[tuple[int, str], str] = {}  # by scene (session_uid) and operator: why the last press did nothing


def problem(scene: bpy.types.Scene, operator: str) -> str:
    """Why a button (its operator's name) did nothing when it was pressed last in this scene, or ""."""
    return _problems.get((scene.session_uid, operator), "")


class Grey:
    """A poll that says why: ``reason(context)`` returns a sentence, or "" when the button may be pressed. What goes
    wrong after the press is kept for the panel."""

    def failed(self, context: bpy.types.Context, sentence: str) -> set[str]:
        """Report why nothing was done, and let the panel say it under the button -> what the operator returns."""
        _problems[context.scene.session_uid, type(self).bl_idname] = sentence
        self.report({"ERROR"}, sentence)
        return {"CANCELLED"}

    def solved(self, context: bpy.types.Context) -> set[str]:
        """The press did what it should -> what the operator returns."""
        _problems.pop((context.scene.session_uid, type(self).bl_idname), None)
        return {"FINISHED"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return ""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        sentence = cls.reason(context)
        if sentence:
            cls.poll_message_set(sentence)  # type: ignore[attr-defined]
        return not sentence


def cannot_start(kind: str, directory: Path | None = None) -> str:
    """Why no job of this kind can start now, or "": only one runs in its lane, and only one in a clip's folder."""
    job = jobs.running(jobs.lane_of(kind))
    if job is not None:
        return f"{title_of(job)} is running: wait for it or cancel it."
    if directory is not None:
        job = jobs.working_in(session.engine_path(directory))
        if job is not None:
            return f"{title_of(job)} works on this clip: wait for it or cancel it."
    return no_command()


def job_of(scene: bpy.types.Scene, kind: str) -> jobs.Job | None:
    """The latest job of this kind, where it is this scene's."""
    job = jobs.latest(kind)
    return job if job is not None and belongs(job, scene) else None


def belongs(job: jobs.Job, scene: bpy.types.Scene) -> bool:
    """Whether it works on the scene's clip; of a step that has none, whether the scene started it."""
    if job.kind in _OF_A_CLIP:
        folder = directory_of(scene)
        return folder is not None and job.params.get("directory") == session.engine_path(folder)
    place = job.context.get("place")
    return place is None or place.find() == scene


def errand_of(scene: bpy.types.Scene, topic: str) -> session.Errand | None:
    """The latest errand of this topic, where it is this scene's."""
    errand = session.errand(topic)
    return errand if errand is not None and (errand.home is None or errand.home.find() == scene) else None


def title_of(job: jobs.Job) -> str:
    """What panels call the job."""
    return jobs.TITLES.get(job.kind, job.kind)


def cannot_ask(scene: bpy.types.Scene, topic: str) -> str:
    """Why a question of this topic cannot be asked now, or "": one at a time, beside whatever jobs run."""
    errand = errand_of(scene, topic)
    return "It is on its way." if errand is not None and errand.waiting else no_command()


def no_command() -> str:
    """Why no engine can be started, or ""."""
    try:
        if not session.engine_command():
            return "No engine yet: install it, or point at one, in the Engine panel."
    except LinkError as error:
        return str(error)
    return ""


def no_weights() -> str:
    """Why the face network of the preferences cannot be used, or ""; what is in its folder is not looked at."""
    if not session.weights():
        return "Choose the folder of the face network's weights in the preferences, or another network."
    return ""


# For operators: ``wait: common.WAIT``, ``overrides: common.OVERRIDES``.
WAIT = BoolProperty(
    name="Wait",
    default=False,
    options={"SKIP_SAVE", "HIDDEN"},
    description="Return when all is done (for scripts)",
)
OVERRIDES = StringProperty(
    name="Overrides",
    options={"SKIP_SAVE", "HIDDEN"},
    description="Values of the preset to change, as JSON (for scripts)",
)


class JobOperator(Grey):
    """Mix-in: starts a job of ``kind``; in background, or when asked to, waits for its end."""

    kind = ""
    wait: WAIT

    def parameters(self, context: bpy.types.Context) -> dict[str, Any]:
        """The job's parameters. Raises ValueError with a sentence."""
        raise NotImplementedError

    def notes(self, context: bpy.types.Context) -> dict[str, Any]:
        """What the add-on wants to know when the job has ended."""
        return {"place": Place.of(context.scene)}

    def tell(self, job: jobs.Job) -> None:
        """Report on a job that is done and was waited for."""

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            params = self.parameters(context)
            job = jobs.start(self.kind, params, self.notes(context))
            self.solved(context)
            if not (self.wait or pump.synchronous()):
                return {"FINISHED"}
            jobs.wait(job, tick=progress_line() if bpy.app.background else None)
        except (LinkError, ValueError, OSError) as error:
            return self.failed(context, str(error))
        if job.state != "done":
            self.report({"ERROR"}, job.status())
            return {"CANCELLED"}
        self.tell(job)
        return {"FINISHED"}


def progress_line() -> Callable[[jobs.Job], None]:
    """A function that prints a job's status whenever it has moved on (for blender -b)."""
    last = [""]

    def tick(job: jobs.Job) -> None:
        line = f"{title_of(job)}: {job.fraction:4.0%} {job.stage}"
        if line != last[0] and job.state == "running":
            last[0] = line
            print(line, flush=True)

    return tick


@dataclass(frozen=True)
class Place:
    """A scene to come back to with an answer; the file may be undone, reloaded or closed for another one meanwhile."""

    scene: str
    session_uid: int
    blend: str

    @classmethod
    def of(cls, scene: bpy.types.Scene) -> Place:
        return cls(scene.name, scene.session_uid, bpy.data.filepath)

    def find(self) -> bpy.types.Scene | None:
        """The same scene, undone or not, or its namesake when the file was opened again; None when it is closed."""
        for scene in bpy.data.scenes:
            if scene.session_uid == self.session_uid:
                return scene
        return bpy.data.scenes.get(self.scene) if self.blend and bpy.data.filepath == self.blend else None


def scene_working_in(job: jobs.Job) -> bpy.types.Scene | None:
    """A scene that still works on the job's folder, rather the one that started it: the file may have been closed and
    another one opened."""
    place = job.context.get("place")
    home = place.find() if place is not None else None
    for scene in sorted(bpy.data.scenes, key=lambda item: item != home):
        folder = directory_of(scene)
        if folder is not None and session.engine_path(folder) == job.params.get("directory"):
            return scene
    return None


def in_scene(scene: bpy.types.Scene, build: Callable[[bpy.types.Context], None], message: str) -> None:
    """Call ``build`` with this scene as the context's, from outside of any operator, as one undo step."""
    window = next((w for w in bpy.context.window_manager.windows if w.scene == scene), None)
    override: dict[str, Any] = {"scene": scene}
    if window is not None:
        override = {"window": window, "scene": scene}
    elif bpy.context.scene != scene:
        override["view_layer"] = scene.view_layers[0]
    with bpy.context.temp_override(**override):
        build(bpy.context)
        if not bpy.app.background:
            bpy.ops.ed.undo_push(message=message)


def outcome(operator: bpy.types.Operator, errand: session.Errand) -> set[str]:
    """An operator's result when what it asked for may still be on its way: the panel shows that, and errors that come
    later."""
    if errand.state == "failed":
        operator.report({"ERROR"}, errand.error)
        return {"CANCELLED"}
    return {"FINISHED"}


def look(context: bpy.types.Context) -> None:
    """Let the largest 3D view show a new head through its camera: in Blender's usual view it is a dot, 20 cm high."""
    areas = [area for area in context.screen.areas if area.type == "VIEW_3D"] if context.screen is not None else []
    if areas:
        largest = max(areas, key=lambda area: area.width * area.height)
        largest.spaces.active.region_3d.view_perspective = "CAMERA"
