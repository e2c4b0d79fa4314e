# SPDX-License-Identifier: Apache-2.0
"""Where KaoLRM puts things: its mesh frame, its data's Blender cameras, the canonical camera, and the ways between.

Mesh frame: y up, face towards +z, the head in a box of side 2 round the origin; v = head(...) * scale + translation.
Data sets store camera-to-world matrices with Blender's axes (world z up, camera looks along its -z).
"""

from __future__ import annotations

import numpy as np

FOCAL = 0.75  # of the published multi-view data: focal length over the image's size
DISTANCE = 2.0  # of the canonical camera, on the mesh frame's +z axis
PORTRAIT_FACE, BOX_FACE = 0.37, 0.28  # the 68 landmarks' height over the picture's: portraits, the published box
# mesh frame (x, y, z) -> Blender world (x, -z, y)
_TO_BLENDER = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
_FLIP = np.diag([1.0, -1.0, -1.0])  # camera axes: Blender's (y up, looks along -z) <-> OpenCV's (y down, along +z)


def blender_pose(viewmat: np.ndarray) -> np.ndarray:
    """World-to-camera [4,4] (mesh frame, OpenCV axes) -> camera-to-world [3,4] (Blender world and camera axes)."""
    rotation = viewmat[:3, :3].T
    centre = -rotation @ viewmat[:3, 3]
    return np.concatenate([_TO_BLENDER @ rotation @ _FLIP, (_TO_BLENDER @ centre)[:, None]], 1)


def viewmat_of_pose(pose: np.ndarray) -> np.ndarray:
    """The inverse of blender_pose: [3,4] -> [4,4]."""
    rotation = _TO_BLENDER.T @ pose[:, :3] @ _FLIP
    viewmat = np.eye(4)
    viewmat[:3, :3] = rotation.T
    viewmat[:3, 3] = -rotation.T @ (_TO_BLENDER.T @ pose[:, 3])
    return viewmat


def canonical_viewmat(distance: float = DISTANCE) -> np.ndarray:
    """World-to-camera [4,4] (OpenCV axes) of a camera at (0, 0, distance) that looks at the mesh frame's origin."""
    viewmat = np.diag([1.0, -1.0, -1.0, 1.0])
    viewmat[2, 3] = distance
    return viewmat


def normalise_views(viewmats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move the world so that the first camera becomes canonical at its own distance from the origin.

    viewmats [V,4,4] -> (normalised viewmats [V,4,4], the motion [4,4] that takes old world points to new ones).
    """
    first = viewmats[0]
    centre = -first[:3, :3].T @ first[:3, 3]
    motion = np.linalg.inv(canonical_viewmat(float(np.linalg.norm(centre)))) @ first
    return viewmats @ np.linalg.inv(motion), motion


def intrinsics(size: int, focal: float = FOCAL) -> np.ndarray:
    """K [3,3] in pixels of a square image: focal length ``focal`` times its size, principal point in its middle."""
    return np.array([[focal * size, 0, size / 2], [0, focal * size, size / 2], [0, 0, 1]])


def camera_vector(viewmat: np.ndarray, focal: float = FOCAL) -> np.ndarray:
    """The network's 16 numbers: row-major camera-to-world [3,4] (Blender), then fx, fy, cx, cy over the image size."""
    return np.concatenate([blender_pose(viewmat).ravel(), [focal, focal, 0.5, 0.5]])


def move_parameters(
    rotation: np.ndarray, translation: np.ndarray, scale: float, root_joint: np.ndarray, motion: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Root rotation [3,3] and translation [3] after the rigid motion [4,4] of the mesh frame.

    The root rotates about its joint [3] (of the shaped head, metres), so the joint's place decides the translation.
    """
    turned = motion[:3, :3] @ rotation
    joint = scale * root_joint
    return turned, motion[:3, :3] @ (joint + translation) + motion[:3, 3] - joint
