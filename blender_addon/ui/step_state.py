# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the work is: which steps are done, which one is next, and which panels stand open for it.

Files and scene tell it, so it is known after closing. A panel that the artist opens or folds stays so until the work
goes on to another step.
"""

from __future__ import annotations

import json
from typing import Any

import bpy

from .. import preferences
from ..client import session
from .operators import common, fit_image, installation, live_results, results, track, train

STEPS = ("engine", "photograph", "live", "video", "track", "check", "train", "avatar", "render")
_WAY = ("video", "track", "train")  # one after the other; what follows has no end
_KINDS = {
    "photograph": ("fit_image", "export_head"), "live": ("live",), "video": ("import",), "track": ("track",),
    "check": ("correct",), "train": ("train",), "avatar": ("bake",),
}  # fmt: skip


def done(scene: bpy.types.Scene, step: str) -> bool:
    """The step's result is there."""
    directory = common.directory_of(scene)
    if step == "engine":
        return session.link.state == "ready"
    if step == "photograph":
        return any(item.state in ("FITTED", "DOUBTFUL") for item in scene.blendsplat.photographs.files)
    if step == "avatar":
        return any(item.blendsplat.kind == "AVATAR" for item in scene.objects)
    if directory is None:
        return False
    if step == "live":
        return common.live_avatar_of(directory) is not None
    if step == "video":
        return (directory / "clip.json").is_file()
    if step == "track":
        return (directory / "tracking.npz").is_file() and not track.outdated(directory)
    return step == "train" and train.is_trained(scene)


def current(scene: bpy.types.Scene) -> str:
    """The step to do next: on the way to an avatar, else "render"."""
    if done(scene, "avatar"):
        return "render"
    return next((step for step in _WAY if not done(scene, step)), "avatar")


def activity(scene: bpy.types.Scene, step: str) -> str:
    """What goes on in a step: "running", "failed" or "" (its last job, where it is this scene's)."""
    if step == "engine":
        if installation.installing() or session.link.state == "starting":
            return "running"
        last = installation.installation()
        return "failed" if session.link.state == "failed" or (last is not None and last.state == "failed") else ""
    jobs = [job for kind in _KINDS.get(step, ()) if (job := common.job_of(scene, kind)) is not None]
    if any(job.running for job in jobs):
        return "running"
    topic = {"track": track.TOPIC, "photograph": fit_image.TOPIC, "live": live_results.TOPIC}.get(step)
    errand = common.errand_of(scene, topic) if topic else None
    failed = any(job.state == "failed" for job in jobs) or (errand is not None and errand.state == "failed")
    return "failed" if failed else ""


def is_open(settings: Any, step: str) -> bool:
    """The step's panel stands open: as the artist left it, else because it is its turn."""
    scene = settings.id_data
    at, chosen = current(scene), _chosen(settings)
    if chosen.get("at") == at and step in chosen:
        return bool(chosen[step])
    if step == "engine":
        return installation.installing() or activity(scene, step) == "failed" or not has_command() or _other_version()
    if activity(scene, step):
        return True
    photographs = bool(scene.blendsplat.photographs.files) and common.video_of(scene) is None
    if step == "live":
        return train.goes_on(scene) or bool(results.offers(scene, "live"))
    if step == "check":
        return at == "train"  # look before you train
    if step == "photograph":
        return photographs
    if step == "avatar" and done(scene, "avatar"):
        return True  # to be played with, while it is rendered
    return step == at and not (step == "video" and (photographs or activity(scene, "live") == "running"))


def has_command() -> bool:
    """It is known how to start an engine."""
    return not common.no_command()


def _other_version() -> bool:
    """The engine is of another version than the add-on, which the artist should change."""
    if preferences.get().engine_kind == "INSTALLED":
        return installation.update() is not None
    return session.link.state == "ready" and str(session.link.hello.get("version") or "") != preferences.version()


def set_open(settings: Any, step: str, shown: bool) -> None:
    """The artist opened or folded a step's panel."""
    at, chosen = current(settings.id_data), _chosen(settings)
    if chosen.get("at") != at:
        chosen = {"at": at}
    settings.folds = json.dumps(chosen | {step: bool(shown)})


def _chosen(settings: Any) -> dict[str, Any]:
    try:
        chosen = json.loads(settings.folds or "{}")
    except ValueError:
        return {}
    return chosen if isinstance(chosen, dict) else {}
