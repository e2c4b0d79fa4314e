# SPDX-License-Identifier: GPL-3.0-or-later
"""What a head's bones look like: a ring around the head, an arc along the chin, a circle before each eye, a ring on the
shoulders. Shapes are shared by all heads of a file; where they lie is measured on the head.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import bpy
import numpy as np

from . import face_controls
from .head_drivers import BONES, EYES

COLLECTION = "Face Controls"
_PREFIX = "blendsplat shape "  # names of the shapes: no scene shows them
_POINTS = 48
_COLORS = {"root": "THEME09", "neck": "THEME09", "jaw": "THEME03", "eye.L": "THEME04", "eye.R": "THEME01"}


def dress(head: bpy.types.Object) -> None:
    """Give the bones of the head's armature shapes, colours and a collection of their own; a bone to which an artist
    gave a shape keeps it."""
    rig = head.blendsplat.rig
    places = _places(head)
    controls = rig.data.collections.get(COLLECTION) or rig.data.collections.new(COLLECTION)
    for name in BONES:
        item = rig.pose.bones.get(name)
        if item is None or name not in places or (item.custom_shape is not None and not is_ours(item.custom_shape)):
            continue
        shape, at, size = places[name]
        wear(item, shape, at, size, _COLORS[name])
        controls.assign(item.bone)


def is_dressed(head: bpy.types.Object) -> bool:
    """Every bone that a hand moves has a shape."""
    rig = head.blendsplat.rig
    return rig is not None and all(item.custom_shape is not None for item in rig.pose.bones if item.name in BONES)


def is_ours(item: bpy.types.Object) -> bool:
    """It is one of the shapes that are made here."""
    return item.name.startswith(_PREFIX)


def wear(
    item: bpy.types.PoseBone, shape: bpy.types.Object, at: tuple[float, float, float],
    size: tuple[float, float, float], color: str,
) -> None:  # fmt: skip
    """Show a pose bone as ``shape``, moved and scaled in its own axes, in metres, whatever the bone's length."""
    item.custom_shape = shape
    item.use_custom_shape_bone_size = False
    item.custom_shape_translation, item.custom_shape_scale_xyz = at, size
    item.color.palette = item.bone.color.palette = color
    if hasattr(item, "custom_shape_wire_width"):
        item.custom_shape_wire_width = 2.0


def ring() -> bpy.types.Object:
    """A circle of radius 1 about Y."""
    return _shape("ring", lambda: _closed([(math.sin(a), 0.0, math.cos(a)) for a in _angles(_POINTS)]))


def circle() -> bpy.types.Object:
    """A circle of radius 1 about Z, with a cross."""

    def made() -> tuple[list, list]:
        points, edges = _closed([(math.cos(a), math.sin(a), 0.0) for a in _angles(_POINTS)])
        start = len(points)
        points += [(-0.25, 0.0, 0.0), (0.25, 0.0, 0.0), (0.0, -0.25, 0.0), (0.0, 0.25, 0.0)]
        return points, [*edges, (start, start + 1), (start + 2, start + 3)]

    return _shape("circle", made)


def arc() -> bpy.types.Object:
    """A third of a band about Y, open to the back, its middle at Z = 1: the line of a jaw."""

    def made() -> tuple[list, list]:
        angles = np.linspace(-math.radians(62), math.radians(62), _POINTS // 2)
        rows = [[(math.sin(a), height, math.cos(a)) for a in angles] for height in (0.1, -0.1)]
        count = len(angles)
        points, edges = _closed([*rows[0], *reversed(rows[1])])
        return points, [*edges, (count // 2, 2 * count - 1 - count // 2)]

    return _shape("arc", made)


def disc() -> bpy.types.Object:
    """A filled circle of radius 1 about Z: what a hand takes."""

    def made() -> tuple[list, list, list]:
        points, edges = _closed([(math.cos(a), math.sin(a), 0.0) for a in _angles(_POINTS // 2)])
        return points, edges, [tuple(range(len(points)))]

    return _shape("disc", made)


def lines(name: str, points: list, edges: list) -> bpy.types.Object:
    """A shape of any lines."""
    return _shape(name, lambda: (points, edges))


def _shape(name: str, made: Callable[[], tuple]) -> bpy.types.Object:
    name = _PREFIX + name
    item = bpy.data.objects.get((name, None))  # this file's own, not a linked one
    if item is None or item.type != "MESH":
        mesh = bpy.data.meshes.new(name)
        points, edges, *faces = made()
        mesh.from_pydata(points, edges, faces[0] if faces else [])
        item = bpy.data.objects.new(name, mesh)
    return item


def _angles(count: int) -> np.ndarray:
    return np.linspace(0.0, 2 * math.pi, count, endpoint=False)


def _closed(points: list) -> tuple[list, list]:
    return points, [(index, (index + 1) % len(points)) for index in range(len(points))]


_Place = tuple[bpy.types.Object, tuple[float, float, float], tuple[float, float, float]]


def _places(head: bpy.types.Object) -> dict[str, _Place]:
    """Bone -> (shape, its place from the bone's joint, its size), in the bones' axes (X left, Y up, Z out of the
    face), measured on the head at rest."""
    bones = head.blendsplat.rig.data.bones
    if any(name not in bones for name in BONES):
        return {}
    points = face_controls.coordinates(head.data.shape_keys.key_blocks[0]) @ np.array(
        [[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32
    )  # [V,3] in the bones' axes
    joints = {name: np.array([*bones[name].head_local])[[0, 2, 1]] * (1, 1, -1) for name in BONES}
    eyes = np.mean([joints[name] for name in EYES], 0)
    apart = max(float(np.linalg.norm(joints["eye.L"] - joints["eye.R"])), 0.01)
    crown = eyes + (0, 1.05 * apart, 0)
    ring_size, ring_at = _around(points, crown[1], 0.25 * apart, eyes, apart)
    chin = points[(np.abs(points[:, 0]) < 0.35 * apart) & (np.abs(points[:, 1] - eyes[1] + 1.6 * apart) < 0.3 * apart)]
    front = float(chin[:, 2].max()) if len(chin) else float(eyes[2])
    deep = 0.85 * apart
    shapes: dict[str, _Place] = {
        "root": (ring(), (0.0, 0.0, 0.0), (1.9 * apart, 1.0, 1.5 * apart)),
        "neck": (ring(), tuple(ring_at - joints["neck"]), (ring_size[0], 1.0, ring_size[1])),
        "jaw": (
            arc(), tuple(np.array([0, eyes[1] - 1.6 * apart, front + 0.14 * apart - deep]) - joints["jaw"]),
            (0.95 * apart, apart, deep),
        ),
    }  # fmt: skip
    for name in EYES:
        shapes[name] = circle(), (0.0, 0.0, 0.55 * apart), (0.26 * apart,) * 3
    return shapes


def _around(
    points: np.ndarray, height: float, band: float, eyes: np.ndarray, apart: float
) -> tuple[tuple[float, float], np.ndarray]:
    """(half width, half depth) and the middle of a ring that lies outside of the head at a height."""
    here = points[np.abs(points[:, 1] - height) < band]
    if len(here) < 3:
        return (1.4 * apart, 1.6 * apart), np.array([0.0, height, eyes[2] - apart])
    low, high = here.min(0), here.max(0)
    half = (high - low) / 2 * 1.18 + 0.1 * apart
    return (float(half[0]), float(half[2])), np.array([(low[0] + high[0]) / 2, height, (low[2] + high[2]) / 2])
