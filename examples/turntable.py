# SPDX-License-Identifier: GPL-3.0-or-later
"""A camera goes once around an avatar: pictures of it from all sides, to look at before a shot is planned.

    blender -b SCENE.blend --python examples/turntable.py -- -o //turntable/ann_ [--frames 48] [--name Ann] [--hold 12]

The avatar holds the pose of one frame (--hold), or plays on while the camera turns. The .blend itself is not changed.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bpy
import common
import numpy as np


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--blend", type=Path, help="the scene, where Blender has not opened it already")
    parser.add_argument("-o", "--output", required=True, help="the beginning of the pictures' names")
    parser.add_argument("--name", default="", help="which avatar, where the scene has several")
    parser.add_argument("--frames", type=int, default=48, help="how many pictures")
    parser.add_argument("--hold", type=int, help="the frame of the timeline whose pose is held")
    parser.add_argument("--size", type=int, default=720, help="pixels along each side")
    parser.add_argument("--height", type=float, default=0.0, help="degrees by which the camera looks from above")
    options = parser.parse_args(common.words())
    extension = common.load_extension(options.engine)
    if options.blend:
        bpy.ops.wm.open_mainfile(filepath=str(options.blend.resolve()))
    scene, carrier = bpy.context.scene, common.the_avatar(options.name)
    for item in scene.objects:
        if item.blendsplat.kind == "AVATAR" and item != carrier:
            item.hide_render = True
    scene.frame_set(scene.frame_start if options.hold is None else options.hold)
    centre, radius = bounds(extension, carrier)
    camera = new_camera(scene, radius)
    bpy.ops.blendsplat.use_render_engine.poll() and bpy.ops.blendsplat.use_render_engine()
    scene.render.resolution_x = scene.render.resolution_y = options.size
    scene.render.resolution_percentage = 100
    scene.render.film_transparent = True
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    first = scene.frame_current
    for picture in range(options.frames):
        place(camera, centre, radius, 2 * math.pi * picture / options.frames, math.radians(options.height))
        scene.frame_set(first if options.hold is not None else first + picture)
        scene.render.filepath = f"{options.output}{picture + 1:04d}.png"
        bpy.ops.render.render(write_still=True)
    extension.client.session.stop()
    print(f"{options.frames} pictures: {bpy.path.abspath(options.output)}0001.png and so on.")
    return 0


def bounds(extension, carrier: bpy.types.Object) -> tuple[np.ndarray, float]:
    """The middle [3] of the avatar's Gaussians and how far from it they reach, strays left out. Raises RuntimeError."""
    parts = extension.render.gather.parts(bpy.context.evaluated_depsgraph_get())
    means = [part.gaussians.means for part in parts if part.carrier == carrier]
    if not means:
        raise RuntimeError(f"{carrier.name} is hidden: nothing can be seen of it.")
    middle = np.median(means[0], axis=0)
    return middle, float(np.percentile(np.linalg.norm(means[0] - middle, axis=1), 99))


def new_camera(scene: bpy.types.Scene, radius: float) -> bpy.types.Object:
    """A camera with a portrait lens."""
    data = bpy.data.cameras.new("Turntable")
    data.lens, data.clip_start = 85.0, radius / 10
    camera = bpy.data.objects.new("Turntable", data)
    scene.collection.objects.link(camera)
    scene.camera = camera
    return camera


def place(camera: bpy.types.Object, centre: np.ndarray, radius: float, angle: float, above: float) -> None:
    """Put the camera on a circle around the middle, looking at it; at angle 0 it stands before the face (-Y)."""
    from mathutils import Vector

    distance = 1.15 * radius / math.sin(camera.data.angle / 2)
    direction = Vector((math.sin(angle) * math.cos(above), -math.cos(angle) * math.cos(above), math.sin(above)))
    camera.location = Vector(centre.tolist()) + distance * direction
    camera.rotation_euler = direction.to_track_quat("Z", "Y").to_euler()


if __name__ == "__main__":
    common.run(main)
