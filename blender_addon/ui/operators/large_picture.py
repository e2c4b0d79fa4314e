# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures at their full size in an image editor: the imported clip, and what a training or a live session shows of
itself while it runs.

What a job shows is a file of the add-on's own folder that is read again with every new one, so that Blender never
asks to save it.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import bpy
import numpy as np
from bpy.props import EnumProperty

from ... import preferences
from ...client import jobs, pump
from ...scene import clip_facts
from . import common, editors

NAME, LIVE = "Training Preview", "Live Preview"
_NAMES = {"train": NAME, "live": LIVE}  # of the image that shows a kind of job
_written: dict[str, tuple[int, int]] = {}  # by kind: the numbers of the job and of its picture that the file holds


class ShowPicture(common.Grey, bpy.types.Operator):
    """Show the picture large in an image editor: one of this window's, else in a window of its own"""

    bl_idname = "blendsplat.show_picture"
    bl_label = "Show Large"
    kind: EnumProperty(
        name="Picture",
        items=[
            ("TRAINING", "Training", "What the training makes of a frame, beside the frame; it follows the training"),
            ("CLIP", "Clip", "The imported clip, from its first frame"),
            ("LIVE", "Live", "What a live capture sees, the avatar so far, and the mesh; it follows the capture"),
        ],
        options={"SKIP_SAVE"},
        description="Which picture is shown",
    )

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        scene = context.scene
        if _first_of_clip(scene) is None and not any(_has_picture(common.job_of(scene, kind)) for kind in _NAMES):
            return "There is no picture yet: import a clip, or wait until a training or a live capture shows one."
        return ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        kind = {"TRAINING": "train", "LIVE": "live"}.get(self.kind)
        image = self._clip(context.scene) if kind is None else _of_job(common.job_of(context.scene, kind))
        if image is None:
            self.report({"ERROR"}, "There is no picture yet: wait until there is one.")
            return {"CANCELLED"}
        area = editors.editor(context, "IMAGE_EDITOR")
        if area is not None:
            space = area.spaces.active
            space.image = image
            if image.source == "SEQUENCE":
                user, clip = space.image_user, clip_facts.read(common.directory_of(context.scene))
                user.frame_start, user.frame_duration, user.use_auto_refresh = (
                    context.scene.blendsplat.performance_start, clip.frames if clip else 1, True,
                )  # fmt: skip
        return {"FINISHED"}

    def _clip(self, scene: bpy.types.Scene) -> bpy.types.Image | None:
        first = _first_of_clip(scene)
        if first is None:
            return None
        image = bpy.data.images.load(str(first), check_existing=True)
        image.source = "SEQUENCE"
        return image


def _of_job(job: jobs.Job | None) -> bpy.types.Image | None:
    """The image that shows the job, with its newest picture; None where there is none yet."""
    if not _has_picture(job):
        return None
    _write(job)
    name, path = _NAMES[job.kind], str(_path(job.kind))
    image = bpy.data.images.get(name) or bpy.data.images.load(path)
    image.name, image.filepath = name, path
    image.reload()
    return image


def _has_picture(job: jobs.Job | None) -> bool:
    return job is not None and job.preview is not None


def _first_of_clip(scene: bpy.types.Scene) -> Path | None:
    clip = clip_facts.read(common.directory_of(scene))
    return clip.first if clip is not None else None


def _path(kind: str) -> Path:
    return preferences.user_directory() / f"{_NAMES[kind].lower()}.png"


def _write(job: jobs.Job) -> None:
    """The job's newest picture into the file."""
    path = _path(job.kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(job.preview))
    _written[job.kind] = (job.number, job.pictures)


def png(image: np.ndarray) -> bytes:
    """An image [H,W,3] uint8 as a PNG file's bytes."""
    height, width = image.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], 1)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _step(_end: float) -> float | None:
    """A job that is being looked at has a new picture."""
    for kind, name in _NAMES.items():
        image, job = bpy.data.images.get(name), jobs.latest(kind)
        if image is None or not _has_picture(job) or _written.get(kind) == (job.number, job.pictures):
            continue
        if job.running and image.users:
            _write(job)
            image.reload()  # editors that show it are drawn again
    return None


def register() -> None:
    bpy.utils.register_class(ShowPicture)
    pump.add_step(_step)


def unregister() -> None:
    bpy.utils.unregister_class(ShowPicture)
