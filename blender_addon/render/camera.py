# SPDX-License-Identifier: GPL-3.0-or-later
"""A Blender camera as pinhole intrinsics and a world-to-camera matrix: what the engine's rasterizer takes.

An orthographic camera is a long lens far away: FLAT times the depth that is seen, so that within it no line leans by
more than a fraction of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import bpy
import numpy as np

from ..space import viewmat_of_camera

FLAT = 1000.0  # metres


class CameraError(Exception):
    """The scene's camera cannot be rendered; the text is a sentence for the artist."""


@dataclass(frozen=True)
class View:
    """width, height of the image to make; K [3,3] in its pixels; viewmat [4,4] from Blender's world (OpenCV axes);
    near, far: the depths between which the camera sees; back: what viewmat's depth is greater than the camera's by."""

    width: int
    height: int
    K: np.ndarray
    viewmat: np.ndarray
    near: float = 0.0
    far: float = np.inf
    back: float = 0.0

    def from_beside(self, aside: tuple[float, float], focus: float) -> View:
        """The view of a pinhole that lies ``aside`` (x to the right, y downwards, metres) in the aperture of a lens
        which is focused at a depth: what is that far away stays where it is."""
        K, viewmat = self.K.copy(), self.viewmat.copy()
        viewmat[:2, 3] -= aside
        K[0, 2] += K[0, 0] * aside[0] / focus
        K[1, 2] += K[1, 1] * aside[1] / focus
        return replace(self, K=K, viewmat=viewmat)

    def depth(self, points: np.ndarray) -> np.ndarray:
        """The camera's depth [N] of points [N,3]."""
        return points @ self.viewmat[2, :3] + self.viewmat[2, 3] - self.back

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Where points [N,3] ahead of the camera are in the image [N,2], y downwards."""
        x, y, z = (points @ self.viewmat[:3, :3].T + self.viewmat[:3, 3]).T
        z = np.maximum(z, 1e-6)
        return np.stack([x / z * self.K[0, 0] + self.K[0, 2], y / z * self.K[1, 1] + self.K[1, 2]], -1)


def problem(camera: bpy.types.Object | None) -> str:
    """Why nothing can be rendered from a camera, as a sentence with the way out; "" when it can."""
    if camera is None or camera.type != "CAMERA":
        return "The scene has no camera to render from; add one, or set the tracked camera as the scene's camera."
    if camera.data.type not in ("PERSP", "ORTHO"):
        return (
            f"The camera {camera.name!r} is a panoramic one; Blendsplat renders perspective and orthographic cameras: "
            "change its Type."
        )
    return ""


def view_of(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph, camera: bpy.types.Object | None) -> View:
    """The view of the scene's camera at the render size, cut to the render region. Raises CameraError."""
    if sentence := problem(camera):
        raise CameraError(sentence)
    evaluated = camera.evaluated_get(depsgraph)  # type: ignore[union-attr]
    render = scene.render
    width = max(1, int(render.resolution_x * render.resolution_percentage / 100))
    height = max(1, int(render.resolution_y * render.resolution_percentage / 100))
    projection = np.array(
        evaluated.calc_matrix_camera(
            depsgraph, x=width, y=height, scale_x=render.pixel_aspect_x, scale_y=render.pixel_aspect_y
        )
    )
    viewmat, back = viewmat_of_camera(np.array(evaluated.matrix_world)), 0.0
    if evaluated.data.type == "ORTHO":
        back = FLAT
        viewmat[2, 3] += back
    K = intrinsics(projection, width, height)
    left, bottom, right, top = 0, 0, width, height
    if render.use_border:
        left, right = int(render.border_min_x * width), int(render.border_max_x * width)
        bottom, top = int(render.border_min_y * height), int(render.border_max_y * height)
        right, top = max(right, left + 1), max(top, bottom + 1)
    K[0, 2] -= left
    K[1, 2] -= height - top
    data = evaluated.data
    return View(right - left, top - bottom, K, viewmat, data.clip_start, data.clip_end, back)


def intrinsics(projection: np.ndarray, width: int, height: int) -> np.ndarray:
    """K [3,3] from Blender's own projection matrix [4,4], which knows sensor fit, shift and pixel aspect."""
    p = projection
    if p[3, 3] == 1:  # orthographic
        focal, shift = np.array([p[0, 0], p[1, 1]]) * FLAT, -p[:2, 3]
    else:
        focal, shift = np.array([p[0, 0], p[1, 1]]), p[:2, 2]
    return np.array(
        [
            [focal[0] * width / 2, 0.0, width / 2 * (1 - shift[0])],
            [0.0, focal[1] * height / 2, height / 2 * (1 + shift[1])],
            [0.0, 0.0, 1.0],
        ]
    )
