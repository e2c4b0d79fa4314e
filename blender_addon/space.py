# SPDX-License-Identifier: GPL-3.0-or-later
"""The border between the engine's space (y up, face to +z) and Blender's (z up, face to -y), and rotations in numpy.

Everything that enters Blender passes ``to_blender`` once, so objects have clean transforms; quaternions are wxyz.
"""

from __future__ import annotations

import numpy as np

# Blender = TO_BLENDER @ engine: (x, y, z) -> (x, -z, y)
TO_BLENDER = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
# A Blender camera looks along -z with y up; an OpenCV camera looks along +z with y down.
CAMERA_AXES = np.diag([1.0, -1.0, -1.0])


def to_blender(vectors: np.ndarray) -> np.ndarray:
    """Points or directions [...,3] of the engine's space -> Blender's."""
    return np.stack([vectors[..., 0], -vectors[..., 2], vectors[..., 1]], -1)


def rotation_to_engine(matrix: np.ndarray) -> np.ndarray:
    """A rotation [...,3,3] in Blender's axes -> the same rotation in the engine's."""
    return TO_BLENDER.T @ matrix @ TO_BLENDER


def camera_matrix_world(viewmat: np.ndarray) -> np.ndarray:
    """Engine world-to-camera [4,4] (OpenCV axes) -> matrix_world [4,4] of a Blender camera."""
    rotation, translation = viewmat[:3, :3].astype(float), viewmat[:3, 3].astype(float)
    world = np.eye(4)
    world[:3, :3] = TO_BLENDER @ rotation.T @ CAMERA_AXES
    world[:3, 3] = TO_BLENDER @ (-rotation.T @ translation)
    return world


def viewmat_of_camera(matrix_world: np.ndarray) -> np.ndarray:
    """matrix_world [4,4] of a Blender camera (its scale is ignored, as Blender does) -> viewmat [4,4] whose world is
    Blender's own: what is rendered from Blender stays in Blender's space."""
    rotation = matrix_world[:3, :3].astype(float)
    rotation = rotation / np.linalg.norm(rotation, axis=0, keepdims=True) @ CAMERA_AXES
    view = np.eye(4)
    view[:3, :3] = rotation.T
    view[:3, 3] = -rotation.T @ matrix_world[:3, 3]
    return view


def rotvec_to_matrix(rotvec: np.ndarray) -> np.ndarray:
    """Rotation vectors [...,3] -> matrices [...,3,3] (Rodrigues)."""
    rotvec = np.asarray(rotvec, dtype=float)
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(rotvec, -1, 0)
    zero = np.zeros_like(x)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*rotvec.shape[:-1], 3, 3)
    small = angle < 1e-6
    safe = np.where(small, 1.0, angle)
    sine = np.where(small, 1 - angle**2 / 6, np.sin(safe) / safe)
    cosine = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    return np.eye(3) + sine * skew + cosine * (skew @ skew)


def quat_to_matrix(quats: np.ndarray) -> np.ndarray:
    """Quaternions wxyz [...,4], normalised here -> matrices [...,3,3]."""
    w, x, y, z = np.moveaxis(quats / np.linalg.norm(quats, axis=-1, keepdims=True), -1, 0)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(rows, -1).reshape(*quats.shape[:-1], 3, 3)


def matrix_to_quat(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrices [...,3,3] -> quaternions wxyz [...,4], through the best conditioned of four formulas."""
    m = matrix
    a, b, c = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    rows = [
        [1 + a + b + c, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]],
        [m[..., 2, 1] - m[..., 1, 2], 1 + a - b - c, m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0]],
        [m[..., 0, 2] - m[..., 2, 0], m[..., 0, 1] + m[..., 1, 0], 1 - a + b - c, m[..., 1, 2] + m[..., 2, 1]],
        [m[..., 1, 0] - m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1], 1 - a - b + c],
    ]
    candidates = np.stack([np.stack(row, -1) for row in rows], -2)
    best = np.diagonal(candidates, axis1=-2, axis2=-1).argmax(-1)[..., None, None]
    quat = np.take_along_axis(candidates, best, -2)[..., 0, :]
    return quat / np.linalg.norm(quat, axis=-1, keepdims=True)


def quat_multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product [...,4] wxyz: the rotation b, then a."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def matrix_to_rotvec(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrices [...,3,3] -> rotation vectors [...,3], at most half a turn."""
    quat = matrix_to_quat(np.asarray(matrix, dtype=float))
    quat = np.where(quat[..., :1] < 0, -quat, quat)
    sine = np.linalg.norm(quat[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quat[..., :1])
    return quat[..., 1:] * np.where(sine < 1e-9, 2.0, angle / np.maximum(sine, 1e-9))


def matrix_to_euler(matrix: np.ndarray) -> np.ndarray:
    """Rotation matrices [F,3,3] of successive frames -> Blender's XYZ Euler angles [F,3], without full turns."""
    m = np.asarray(matrix, dtype=float)
    y = np.arcsin(np.clip(-m[:, 2, 0], -1.0, 1.0))
    x = np.arctan2(m[:, 2, 1], m[:, 2, 2])
    z = np.arctan2(m[:, 1, 0], m[:, 0, 0])
    return np.unwrap(np.stack([x, y, z], -1), axis=0)
