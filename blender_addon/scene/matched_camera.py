# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender cameras that match the engine's: of a tracked clip, of a fitted photograph, with the picture behind the head.

The way back, from any Blender camera to the engine's numbers, is camera.py.
"""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np

from ..formats import Performance
from ..paths import kept
from ..space import camera_matrix_world
from . import keyframes

_SENSOR = 36.0  # mm along the longer side
_DRAWN = 0.08  # metres: the camera's outline beside a head
_ROUNDING = 1e-3  # of a frame: time stamps are written in microseconds


def add_camera(
    context: bpy.types.Context,
    performance: Performance,
    collection: bpy.types.Collection,
    clip_directory: Path | None,
    start: int,
) -> bpy.types.Object:
    """A camera that matches the clip's, with the clip as its background; made the scene's camera.

    An earlier one of the same collection is replaced (a clip that was tracked again).
    """
    for item in [item for item in collection.objects if _of_clip(item)]:
        bpy.data.objects.remove(item)
    camera = new_camera(collection, f"{collection.name} Camera")
    match_camera(camera, performance)
    _zoom(camera.data, performance, start, context.scene.render.fps / context.scene.render.fps_base)
    context.scene.camera = camera
    if clip_directory is not None:
        _add_clip(camera.data, clip_directory, performance.frame_count, start)
        _keep_time(camera.data, performance, start, context.scene.render.fps / context.scene.render.fps_base)
    return camera


def new_camera(collection: bpy.types.Collection, name: str) -> bpy.types.Object:
    """A camera object in the collection."""
    camera = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    camera.data.display_size = _DRAWN
    camera.blendsplat.kind = "CAMERA"
    collection.objects.link(camera)
    return camera


def camera_of(head: bpy.types.Object) -> bpy.types.Object | None:
    """The camera that was matched to the head's clip."""
    collection = head.users_collection[0] if head.users_collection else None
    return next(filter(_of_clip, collection.objects), None) if collection is not None else None


def _of_clip(item: bpy.types.Object) -> bool:
    return item.blendsplat.kind == "CAMERA" and not item.blendsplat.fit_path


def match_camera(camera: bpy.types.Object, performance: Performance) -> None:
    """Give the camera the performance's lens and place."""
    set_pinhole(camera.data, performance.K, *size_of(performance))
    camera.matrix_world = camera_matrix_world(performance.viewmat).T.tolist()


def _zoom(camera: bpy.types.Camera, performance: Performance, start: float, fps: float) -> None:
    """Key the focal length where the clip's lens zooms: a frame's is so many times K's."""
    zoom = performance.arrays.get("zoom")
    if zoom is not None and np.ptp(zoom) > 0:
        frames = start + performance.timestamps * fps
        keyframes.write(camera, [keyframes.Curve("lens", 0, frames, camera.lens * zoom)], f"{camera.name} zoom")


def size_of(performance: Performance) -> tuple[int, int]:
    """Width and height of the images that K is for."""
    return int(performance.meta["width"]), int(performance.meta["height"])


def set_pinhole(camera: bpy.types.Camera, K: np.ndarray, width: int, height: int) -> None:
    """Give a Blender camera the intrinsics K [3,3] (pixels) of a width x height image."""
    longest = max(width, height)
    camera.sensor_fit = "HORIZONTAL" if width >= height else "VERTICAL"
    camera.sensor_width = camera.sensor_height = _SENSOR
    camera.lens = float(K[0, 0]) * _SENSOR / longest
    camera.shift_x = (width / 2 - float(K[0, 2])) / longest
    camera.shift_y = (float(K[1, 2]) - height / 2) / longest
    camera.clip_start, camera.clip_end = 0.01, 100.0


def match_size(scene: bpy.types.Scene, width: int, height: int) -> None:
    """Render what the camera was matched to: so many square pixels."""
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0


def show_photograph(camera: bpy.types.Object, image: bpy.types.Image) -> None:
    """The photograph behind what the camera sees, once, filling the side that the lens was matched on."""
    data = camera.data
    data.show_background_images = True
    if any(item.image == image for item in data.background_images):
        return
    background = data.background_images.new()
    background.image, background.alpha, background.display_depth = image, 1.0, "BACK"
    background.frame_method = "CROP" if data.sensor_fit == "HORIZONTAL" else "FIT"


def _add_clip(camera: bpy.types.Camera, directory: Path, frame_count: int, start: int) -> None:
    first = next(iter(sorted((directory / "images").glob("*.png"))), None)
    if first is None:
        return
    image = bpy.data.images.load(str(first), check_existing=True)
    image.source, image.filepath = "SEQUENCE", kept(first)
    camera.show_background_images = True
    _add_sequence(camera, image, frame_count, start, -1 + _first_number(first))


def _add_sequence(
    camera: bpy.types.Camera, image: bpy.types.Image, frame_count: int, start: int, offset: int
) -> bpy.types.CameraBackgroundImage:
    background = camera.background_images.new()
    background.image, background.alpha, background.display_depth = image, 1.0, "BACK"
    user = background.image_user
    user.frame_duration, user.frame_start, user.frame_offset = frame_count, start, offset
    user.use_auto_refresh = True
    return background


def _keep_time(camera: bpy.types.Camera, performance: Performance, start: int, fps: float) -> None:
    """Let the clip's pictures behind keep the clip's time, as the head's keys do, where they do not come one a frame:
    of a take from which frames were dropped, of a variable rate, in a scene of another rate. Blender's sequences know
    one picture a frame, so their offset is keyed."""
    frames, numbers = pictures_at(performance.timestamps, fps)
    if len(frames) == performance.frame_count and (numbers == frames).all():
        return
    for background in camera.background_images:
        user = background.image_user
        user.frame_duration = len(frames)
        values = user.frame_offset + numbers - frames
        path = _offset_of(camera, background)
        keyframes.write(camera, [keyframes.Curve(path, 0, start + frames, values)], f"{camera.name} pictures")


def pictures_at(timestamps: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """(frames of the timeline from 0 on, which picture [L] of the clip is seen in each) for seconds [F]: the nearest,
    and where none is within half a frame the newest."""
    taken = (np.asarray(timestamps, float) - timestamps[0]) * fps
    early = np.minimum(0.5, np.diff(taken, prepend=-1.0) / 2)  # frames by which a picture may come before its time
    shown = np.ceil(taken - early - _ROUNDING).astype(int)
    frames = np.arange(round(float(taken[-1])) + 1)
    return frames, np.searchsorted(shown, frames, side="right") - 1


def _offset_of(camera: bpy.types.Camera, background: bpy.types.CameraBackgroundImage) -> str:
    """The data path of its pictures' offset."""
    place = next(place for place, item in enumerate(camera.background_images) if item == background)
    return f"background_images[{place}].image_user.frame_offset"


def _copy_time(
    camera: bpy.types.Camera, source: bpy.types.CameraBackgroundImage, target: bpy.types.CameraBackgroundImage
) -> None:
    """Where the pictures of one are keyed, the other's are as well."""
    wanted = _offset_of(camera, source)
    curve = next((item for item in keyframes.fcurves(camera) if item.data_path == wanted), None)
    if curve is not None:
        frames, values = keyframes.points(curve).T
        keyframes.add(camera, [keyframes.Curve(_offset_of(camera, target), 0, frames, values)], camera.name)


def veil(camera: bpy.types.Camera, alpha: float) -> None:
    """The clip once more, in front of all with ``alpha``: over the clip behind, nothing is seen but that what stands
    between grows transparent, without its insides. 0 takes it away."""
    backs = [item for item in camera.background_images if item.display_depth == "BACK" and item.image is not None]
    for item in [item for item in camera.background_images if _is_veil(item, backs)]:
        if alpha > 0:
            item.alpha = alpha
            return
        keyframes.remove(camera, _offset_of(camera, item))
        camera.background_images.remove(item)
    if alpha > 0 and backs:
        user = backs[0].image_user
        front = _add_sequence(camera, backs[0].image, user.frame_duration, user.frame_start, user.frame_offset)
        front.display_depth, front.alpha, front.show_expanded = "FRONT", alpha, False
        _copy_time(camera, backs[0], front)


def _is_veil(item: bpy.types.CameraBackgroundImage, backs: list[bpy.types.CameraBackgroundImage]) -> bool:
    return item.display_depth == "FRONT" and any(item.image == back.image for back in backs)


def _first_number(path: Path) -> int:
    return int("".join(c for c in path.stem if c.isdigit()) or 0)
