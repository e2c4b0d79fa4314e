# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion blur and depth of field: a frame is the mean of pictures at several moments, each through another point of the
lens. Both are Blender's own settings (Render > Motion Blur, Camera > Depth of Field); how many pictures, the scene's.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np


@dataclass(frozen=True)
class Moment:
    """One of the pictures: ``offset`` in frames from the frame, ``aside`` in the lens (metres; x right, y down)."""

    offset: float = 0.0
    aside: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Lens:
    """radius of the aperture in metres, focus: the depth that is sharp; blades (below 3: round), their rotation in
    radians, ratio: an anamorphic lens's height by width."""

    radius: float
    focus: float
    blades: int = 0
    rotation: float = 0.0
    ratio: float = 1.0


def moments(scene: bpy.types.Scene, lens: Lens | None) -> list[Moment]:
    """The pictures of a frame: a single sharp one when neither blur is on."""
    render = scene.render
    count = scene.blendsplat_render.blur_samples if render.use_motion_blur or lens is not None else 1
    if count == 1:
        return [Moment()]
    offsets = np.zeros(count)
    if render.use_motion_blur:
        position = getattr(render, "motion_blur_position", "CENTER")
        begin = {"START": 0.0, "CENTER": -0.5, "END": -1.0}[position]
        offsets = ((np.arange(count) + 0.5) / count + begin) * render.motion_blur_shutter
    asides = aperture_points(count, lens) if lens is not None else np.zeros((count, 2))
    return [Moment(float(offset), (float(x), float(y))) for offset, (x, y) in zip(offsets, asides, strict=True)]


def lens_of(camera: bpy.types.Object) -> Lens | None:
    """The lens of an evaluated perspective camera with Depth of Field; None: everything is sharp."""
    data, dof = camera.data, camera.data.dof
    if not dof.use_dof or data.type != "PERSP" or dof.aperture_fstop <= 0:
        return None
    focus = float(dof.focus_distance)
    if dof.focus_object is not None:
        offset = dof.focus_object.matrix_world.translation - camera.matrix_world.translation
        focus = abs(float(offset.dot(camera.matrix_world.col[2].xyz.normalized())))
    return Lens(
        data.lens * 1e-3 / (2 * dof.aperture_fstop), max(focus, 1e-3), dof.aperture_blades, dof.aperture_rotation,
        dof.aperture_ratio,
    )  # fmt: skip


def aperture_points(count: int, lens: Lens) -> np.ndarray:
    """count points spread evenly over the aperture [N,2] in metres."""
    index = np.arange(count)
    # The sunflower: equal areas, and any stretch of successive points is spread around.
    radius, angle = np.sqrt((index + 0.5) / count), index * np.pi * (3 - np.sqrt(5))
    rim = _on_circle(angle)
    if lens.blades >= 3:  # on the polygon's sides instead, which keeps areas equal
        side = 2 * np.pi / lens.blades
        corner = np.floor(angle / side)
        share = (angle / side - corner)[:, None]
        first = lens.rotation + corner * side
        rim = (1 - share) * _on_circle(first) + share * _on_circle(first + side)
    points = radius[:, None] * rim * lens.radius
    return points / [max(lens.ratio, 1e-3), 1.0]


def _on_circle(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], -1)
