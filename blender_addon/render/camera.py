# SPDX-License-Identifier: GPL-3.0-or-later
"""A Blender camera as pinhole intrinsics and a world-to-camera matrix: what the engine's rasterizer takes."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ..space import viewmat_of_camera


class CameraError(Exception):
    """The scene's camera cannot be rendered; the text is a sentence for the artist."""


@dataclass
class View:
    """width, height of the image to make; K [3,3] in its pixels; viewmat [4,4] from Blender's world (OpenCV axes)."""

    width: int
    height: int
    K: np.ndarray
    viewmat: np.ndarray


def view_of(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph, camera: bpy.types.Object | None) -> View:
    """The view of the scene's camera at the render size, cut to the render region. Raises CameraError."""
    if camera is None or camera.type != "CAMERA":
        raise CameraError(
            "The scene has no camera to render from; add one, or set the tracked camera as the scene's camera."
        )
    evaluated = camera.evaluated_get(depsgraph)
    if evaluated.data.type != "PERSP":
        raise CameraError(
            f"The camera {camera.name!r} is not a perspective camera; Blendsplat renders perspective only."
        )
    render = scene.render
    width = max(1, int(render.resolution_x * render.resolution_percentage / 100))
    height = max(1, int(render.resolution_y * render.resolution_percentage / 100))
    K = intrinsics(evaluated, depsgraph, width, height, render.pixel_aspect_x, render.pixel_aspect_y)
    left, bottom, right, top = 0, 0, width, height
    if render.use_border:
        left, right = int(render.border_min_x * width), int(render.border_max_x * width)
        bottom, top = int(render.border_min_y * height), int(render.border_max_y * height)
        right, top = max(right, left + 1), max(top, bottom + 1)
    K[0, 2] -= left
    K[1, 2] -= height - top
    return View(right - left, top - bottom, K, viewmat_of_camera(np.array(evaluated.matrix_world)))


def intrinsics(
    camera: bpy.types.Object, depsgraph: bpy.types.Depsgraph, width: int, height: int, aspect_x: float, aspect_y: float
) -> np.ndarray:
    """K [3,3] from Blender's own projection matrix, which knows sensor fit, shift and pixel aspect."""
    p = np.array(camera.calc_matrix_camera(depsgraph, x=width, y=height, scale_x=aspect_x, scale_y=aspect_y))
    return np.array(
        [
            [p[0, 0] * width / 2, 0.0, width / 2 * (1 - p[0, 2])],
            [0.0, p[1, 1] * height / 2, height / 2 * (1 + p[1, 2])],
            [0.0, 0.0, 1.0],
        ]
    )
