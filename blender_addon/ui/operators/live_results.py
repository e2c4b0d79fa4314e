# SPDX-License-Identifier: GPL-3.0-or-later
"""What a live session brings into the scene: the avatar as it is learned; at the end the take, its head, its avatar.

However it ends (stopped, its source gone, cancelled, the engine dead, the file closed), the live avatar goes and what
was captured is found again.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Quaternion

from ... import formats, preferences
from ...client import jobs, session
from ...client.link import LinkError
from ...paths import kept
from ...scene import handlers, live_avatar, scene_match
from . import avatar, common, results, track

TOPIC = "take"  # what panels find a take on its way by


def running(scene: bpy.types.Scene) -> jobs.Job | None:
    """The scene's live session while it runs."""
    job = common.job_of(scene, "live")
    return job if job is not None and job.running else None


def is_ending(job: jobs.Job) -> bool:
    """It was told to end, or has ended and its result is being added."""
    return bool(job.context.get("stopping")) or job.state in ("cancelling", "adding")


def stop(job: jobs.Job) -> None:
    """Ask a live session to end and be done; where it cannot hear, it is cancelled, which keeps as much."""
    if job.identity is None:
        jobs.cancel(job)
        return
    job.context["stopping"] = True
    jobs.send_frame(job, {}, {"stop": True}, lambda accepted: None if accepted else jobs.cancel(job))


def fetch(place: common.Place, directory: Path, *, wait: bool | None = None) -> session.Errand:
    """Ask the engine for the head of a take; take, head and avatar come into the scene when it is here, as one undo
    step, or wait for its file. Raises FileError when the take holds no tracking."""
    performance = formats.read_performance(directory)

    def then(result: Any, arrays: dict[str, Any]) -> None:
        rig = formats.rig_from(result if isinstance(result, dict) else {}, arrays, directory)

        def build(context: bpy.types.Context) -> None:
            _add(context, directory, performance, rig)

        scene = place.find()
        if scene is not None:
            results.bring(scene, "live", "Add Take", directory, build)
        elif place.blend:
            results.hold(place, "live", "Add Take", directory, build)

    errand = session.ask("head.rig", {"directory": session.engine_path(directory)}, then=then, topic=TOPIC, wait=wait)
    errand.home = place
    return errand


def _add(context: bpy.types.Context, directory: Path, performance: formats.Performance, rig: formats.Rig) -> None:
    """The take as the scene's clip, its head and its avatar."""
    scene, file = context.scene, common.live_avatar_of(directory)
    live_avatar.remove(scene)
    _choose(scene, directory)
    track.add_head(context, directory, performance, rig)
    if file is not None:
        scene.blendsplat.avatar_file = kept(file)
        avatar.add_avatar(context, file, performance.path)


def _choose(scene: bpy.types.Scene, directory: Path) -> None:
    """Make a take the scene's clip."""
    settings = scene.blendsplat
    settings.directory = settings.live.take = kept(directory)
    settings.output = ""


def _choose_performance(place: common.Place | None, directory: Path) -> None:
    """Make a take that was recorded to drive an avatar the performance that is applied next; the scene's clip stays."""
    scene = place.find() if place is not None else None
    if scene is not None:
        scene.blendsplat.live.take = kept(directory)
        scene.blendsplat.performance, scene.blendsplat.acting.source = kept(directory / "tracking.npz"), "FILE"


def look_at(context: bpy.types.Context, item: bpy.types.Object) -> None:
    """The window's largest 3D view sees the object large, from the front."""
    areas = [area for area in context.screen.areas if area.type == "VIEW_3D"] if context.screen is not None else []
    if not areas:
        return
    view = max(areas, key=lambda area: area.width * area.height).spaces.active.region_3d
    low, high = live_avatar.extent(item)
    view.view_perspective = "PERSP"
    view.view_rotation = Quaternion((1, 0, 0), math.pi / 2)
    view.view_location = (low + high) / 2
    view.view_distance = 2.5 * float((high - low).max())


def _framed(job: jobs.Job, info: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """The avatar as it is now. While Blender renders, or shows another file, it is dropped: another one comes."""
    place = job.context.get("place")
    scene = place.find() if place is not None else None
    if "splats" not in info or scene is None or job.state == "adding":
        return
    if common.is_rendering():
        return
    first = live_avatar.of(scene) is None and not job.context.get("shown")
    if live_avatar.show(scene, arrays) and first:
        job.context["shown"] = True
        if bpy.context.scene == scene and scene_match.is_untouched(scene):
            look_at(bpy.context, live_avatar.of(scene))


def _finished(job: jobs.Job) -> session.Errand | None:
    """What was captured comes into the scene that began it."""
    directory, place = _take_of(job), job.context.get("place")
    _end(job)
    if directory is None or place is None or not preferences.get().add_results:
        return None
    if not job.params.get("learn", True):
        _choose_performance(place, directory)
        return None
    return fetch(place, directory)


def _broken_off(job: jobs.Job) -> None:
    """Cancelled or failed: what there is, is kept; a whole take comes into the scene, of another the scene knows."""
    _end(job)
    place = job.context.get("place")
    scene = place.find() if place is not None else None
    directory = session.local_path(job.params["directory"])
    if job.result is not None or not preferences.get().add_results:
        return
    if (directory / "tracking.npz").is_file() and not job.params.get("learn", True):
        _choose_performance(place, directory)
    elif (directory / "tracking.npz").is_file() and job.state == "cancelled" and place is not None:
        fetch(place, directory)
    elif scene is not None and common.is_broken_off(directory):
        _choose(scene, directory)


def _end(job: jobs.Job) -> None:
    """The live avatar goes: at once where what follows has to wait, else when the real one comes."""
    place = job.context.get("place")
    scene = place.find() if place is not None else None
    replaced = job.state == "adding" and preferences.get().add_results
    if scene is not None and not (replaced and not results.busy(scene)):
        live_avatar.remove(scene)


def _take_of(job: jobs.Job) -> Path | None:
    """The take's folder, as the engine tells it. Raises LinkError where this machine cannot see it."""
    told = job.result.get("directory") if isinstance(job.result, dict) else None
    if not told:
        return None
    if sentence := session.unseen(f"{told}/clip.json"):
        raise LinkError(sentence)
    return session.local_path(told)


@bpy.app.handlers.persistent
def _sweep(*_: object) -> None:
    """A live avatar that came with a file or an undo belongs to no session any more."""
    for scene in bpy.data.scenes:
        if scene.library is None and live_avatar.of(scene) is not None and running(scene) is None:
            live_avatar.remove(scene)


@bpy.app.handlers.persistent
def _saving(*_: object) -> None:
    """Files hold no live avatar: it comes back with the next frame."""
    for scene in bpy.data.scenes:
        if scene.library is None:
            live_avatar.remove(scene)


@bpy.app.handlers.persistent
def _closing(*_: object) -> None:
    """Another file is about to be opened: nobody sees the camera any more."""
    job = jobs.latest("live")
    if job is not None and job.running and not is_ending(job):
        stop(job)


_HANDLERS = (
    ("load_pre", _closing), ("load_post", _sweep), ("undo_post", _sweep), ("redo_post", _sweep), ("save_pre", _saving),
)  # fmt: skip


def register() -> None:
    jobs.on_frame("live", _framed)
    jobs.on_finished("live", _finished)
    jobs.on_broken_off("live", _broken_off)
    handlers.add(_HANDLERS)


def unregister() -> None:
    handlers.remove(_HANDLERS)
