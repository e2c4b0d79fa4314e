# SPDX-License-Identifier: GPL-3.0-or-later
"""What a head is going to do in a frame that Blender has not evaluated yet: read off its own curves, as mostly they are
all that moves it. A guess: constraints, drivers and NLA strips are not asked.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Euler, Matrix, Quaternion

from . import control_board, head_rig, keyframes
from .head_drivers import BONES, key_path
from .weight_network import HeadState

_Values = dict[tuple[str, int], float]  # what curves say, by data path and index


def head_state(head: bpy.types.Object, frame: float) -> HeadState:
    """The state in which the curves put the head; numbers without a curve are as they are now."""
    keys, rig = head.data.shape_keys, head.blendsplat.rig
    values, blocks = _values(keys, frame), keys.key_blocks

    def value(name: str) -> float:
        key = blocks.get(name)
        own = values.get((key_path(name), 0), key.value) if key is not None and not key.mute else 0.0
        return own + control_board.added(blocks, name)

    if rig is None:
        return head_rig.state_of(head, value, None, {})
    return head_rig.state_of(head, value, rig.pose, _matrices(rig.pose, _values(rig, frame)))


def _values(owner: bpy.types.ID, frame: float) -> _Values:
    return {
        (curve.data_path, curve.array_index): curve.evaluate(frame)
        for curve in keyframes.played(owner)
        if not curve.mute
    }


def _matrices(pose: bpy.types.Pose, values: _Values) -> dict[str, np.ndarray]:
    """The bones' matrices in the armature's space [4,4]; parents stand before their children."""
    found: dict[str, Matrix] = {}
    for name in BONES:
        item = pose.bones.get(name)
        if item is None:
            continue
        rest, parent = item.bone.matrix_local, item.parent
        matrix = rest @ _basis(item, values)
        if parent is not None and parent.name in found:
            matrix = found[parent.name] @ parent.bone.matrix_local.inverted() @ matrix
        found[name] = matrix
    return {name: np.array(matrix) for name, matrix in found.items()}


def _basis(item: bpy.types.PoseBone, values: _Values) -> Matrix:
    def channels(name: str) -> list[float]:
        path = f'pose.bones["{item.name}"].{name}'
        return [values.get((path, index), now) for index, now in enumerate(getattr(item, name))]

    if item.rotation_mode == "QUATERNION":
        rotation = Quaternion(channels("rotation_quaternion"))
    else:
        rotation = Euler(channels("rotation_euler"), item.rotation_mode)
    return Matrix.LocRotScale(channels("location"), rotation, item.scale)
