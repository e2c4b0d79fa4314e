# SPDX-License-Identifier: GPL-3.0-or-later
"""What a photograph says about each point of a head: where it lies in the picture, and how well the camera saw it.

Plain numpy on the fitted head in the camera's axes, so that it is the same wherever the head stands in the scene.
"""

from __future__ import annotations

import numpy as np
from mathutils import Vector
from mathutils.bvhtree import BVHTree

# Cosines between which the photograph fades in: skin seen from the side is smeared, and what was fitted too wide shows
# the background. The engine's texture, which knows the person's outline, goes farther.
FACING = (0.3, 0.6)
_SKIN_DEEP = 5e-4  # metres that a look starts above the skin
_BORDER = 0.01  # of the picture: fades out there
_SMOOTHED = 2


def camera_points(vertices: np.ndarray, viewmat: np.ndarray) -> np.ndarray:
    """World points [V,3] in the camera's axes (x right, y down, z forward)."""
    return vertices @ viewmat[:3, :3].T + viewmat[:3, 3]


def picture_uvs(points: np.ndarray, K: np.ndarray, width: int, height: int) -> np.ndarray:
    """Points [V,3] in the camera's axes -> UVs [V,2] in the picture, (0,0) at its lower left."""
    pixels = points @ K.T
    pixels = pixels[:, :2] / np.maximum(pixels[:, 2:], 1e-6)
    return np.stack([pixels[:, 0] / width, 1 - pixels[:, 1] / height], 1)


def seen(points: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well the camera at the origin saw each vertex [V], 0 to 1: turned to it, nothing in between, in the picture;
    and [V] the same whether or not something is in between.

    Soft everywhere; a vertex beside a hidden one counts as hidden, so that a nose leaves no print on the cheek.
    """
    towards = -points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    facing = _step((_normals(points, faces) * towards).sum(1), *FACING)
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    clear = _unhidden(points, faces, towards, facing > 0)
    shrunk = clear.copy()
    np.minimum.at(shrunk, edges[:, 0], clear[edges[:, 1]])
    np.minimum.at(shrunk, edges[:, 1], clear[edges[:, 0]])
    inside = _step(np.minimum(uvs, 1 - uvs).min(1), 0.0, _BORDER)
    turned = facing * inside
    return (turned * np.minimum(shrunk, _smooth(shrunk, edges))).astype(np.float32), turned.astype(np.float32)


def _step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = points[faces]
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], areas)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _unhidden(points: np.ndarray, faces: np.ndarray, towards: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """1 where nothing lies between the vertex and the camera; 0 elsewhere and where it is not asked."""
    tree = BVHTree.FromPolygons(points.tolist(), faces.tolist())
    result = np.zeros(len(points))
    for index in np.flatnonzero(asked):
        direction = Vector(towards[index])
        result[index] = tree.ray_cast(Vector(points[index]) + direction * _SKIN_DEEP, direction)[0] is None
    return result


def _smooth(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Averages over neighbours."""
    count = 1 + np.bincount(edges.ravel(), minlength=len(values))
    for _ in range(_SMOOTHED):
        total = values.copy()
        np.add.at(total, edges[:, 0], values[edges[:, 1]])
        np.add.at(total, edges[:, 1], values[edges[:, 0]])
        values = total / count
    return values
