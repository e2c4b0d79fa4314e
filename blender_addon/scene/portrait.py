# SPDX-License-Identifier: GPL-3.0-or-later
"""A face as a small portrait: what the engine's networks take of a pose, and a camera that looks the head in the face.

Nothing is evaluated in Blender, so the artist's head does not move. The head stands where the avatar's own clip held it
on average, because the networks know no other place.
"""

from __future__ import annotations

import json

import bpy
import numpy as np
from mathutils import Euler

from ..space import TO_BLENDER, matrix_to_rotvec, rotvec_to_matrix
from . import arkit, head_rig
from .face_pose import FacePose
from .retarget import Reference

_BONES = ("jaw", "eye.L", "eye.R")
_DISTANCE = 1.2  # metres to the face: a long lens
_HEIGHT = 4.9  # of the picture, in distances between the eyes: hair and chin are just in it
_LOOK = -0.25  # where its middle lies, from the eyes upwards, in the same measure
_EYES = 0.062  # metres between the eyes of a head without eye bones


def arrays_of(head: bpy.types.Object, pose: FacePose, place: Reference | None) -> dict[str, np.ndarray]:
    """A pose of the head as ``avatar.drive`` takes it, one frame, float32."""
    names = json.loads(head[head_rig.CUSTOM]["expressions"])
    blocks = head.data.shape_keys.key_blocks
    rotation = np.eye(3) if place is None else np.asarray(place.rotation, float)
    arrays = {
        "expression": [[pose.sliders.get(name, 0.0) if name in blocks else 0.0 for name in names]],
        "root_pose": [matrix_to_rotvec(rotation)],
        "neck_pose": np.zeros((1, 3)),
        "translation": [np.zeros(3) if place is None else place.translation],
        "eyelids": [[pose.sliders.get(name, 0.0) for name in head_rig.EYELID_KEYS]],
    }
    turned = [matrix_to_rotvec(_turned(head, bone, pose)) for bone in _BONES]
    arrays |= {"jaw_pose": [turned[0]], "eyes_pose": [turned[1:]]}
    return {name: np.ascontiguousarray(value, np.float32) for name, value in arrays.items()}


def _turned(head: bpy.types.Object, bone: str, pose: FacePose) -> np.ndarray:
    """How sliders and the bone itself turn it [3,3]: a slider's turn comes on top of the bone's own."""
    own = rotvec_to_matrix(np.array(pose.turns.get(bone, (0.0, 0.0, 0.0))))
    blocks, angles = head.data.shape_keys.key_blocks, np.zeros(3)
    for name, (turned, radians) in arkit.TURNS.items():
        if turned == bone and name in blocks and blocks[name].lock_shape:  # a slider that moves nothing but a bone
            angles += pose.sliders.get(name, 0.0) * np.array(radians)
    return np.array(Euler(angles, "XYZ").to_matrix()) @ own


def camera(head: bpy.types.Object, place: Reference | None, size: int) -> tuple[np.ndarray, np.ndarray]:
    """K [3,3] and viewmat [4,4] (OpenCV axes, the engine's space) of a square portrait of ``size`` pixels."""
    bones = head.blendsplat.rig.data.bones if head.blendsplat.rig is not None else {}
    rotation = np.eye(3) if place is None else np.asarray(place.rotation, float)
    moved = np.zeros(3) if place is None else np.asarray(place.translation, float)

    def joint(name: str) -> np.ndarray | None:
        return TO_BLENDER.T @ np.array(bones[name].head_local) if name in bones else None

    left, right, root = joint("eye.L"), joint("eye.R"), joint("root")
    root = np.zeros(3) if root is None else root
    apart = _EYES if left is None or right is None else max(0.02, float(np.linalg.norm(left - right)))
    eyes = _middle(head) if left is None or right is None else (left + right) / 2
    middle = rotation @ (eyes + [0.0, _LOOK * apart, 0.0] - root) + root + moved
    view = np.eye(4)
    view[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ rotation.T
    view[:3, 3] = -view[:3, :3] @ middle + [0.0, 0.0, _DISTANCE]
    focal = size * _DISTANCE / (_HEIGHT * apart)
    K = np.array([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]])
    return K.astype(np.float32), view.astype(np.float32)


def _middle(head: bpy.types.Object) -> np.ndarray:
    corners = np.array(head.bound_box)
    return TO_BLENDER.T @ corners.mean(0)


def picture_of(answer: dict[str, np.ndarray]) -> np.ndarray:
    """What ``render.gaussians`` answered as a thumbnail [H,W,4]: premultiplied, as Blender draws its icons, 0 to 1."""
    alpha = np.clip(answer["alpha"], 0.0, 1.0)
    return np.concatenate([np.clip(answer["image"], 0.0, alpha), alpha], -1).astype(np.float32)
