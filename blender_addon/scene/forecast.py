# SPDX-License-Identifier: GPL-3.0-or-later
"""What a head is going to do in a frame that Blender has not evaluated yet: read off its own curves, as mostly they are
all that moves it. A guess: constraints, drivers and NLA strips are not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import bpy
import numpy as np
from mathutils import Euler, Matrix, Quaternion

from . import control_board, head_rig, keyframes
from .head_drivers import BONES, key_path
from .weight_network import HeadState

_Values = dict[tuple[str, int], float]  # what curves say, by data path and index


def head_state(head: bpy.types.Object, frame: float) -> HeadState:
    """The state in which the curves put the head; numbers without a curve are as they are now."""
    return next(head_states(head, [frame]))


def head_states(head: bpy.types.Object, frames: Iterable[float]) -> Iterator[HeadState]:
    """The same in many frames, quicker than one by one."""
    keys, rig = head.data.shape_keys, head.blendsplat.rig
    curves, blocks = _heard(keys), keys.key_blocks
    boards = {key.name: control_board.added(blocks, key.name) for key in blocks}
    plain = {key.name: (0.0 if key.mute else key.value) + boards[key.name] for key in blocks}
    paths = {key.name: (key_path(key.name), 0) for key in blocks if not key.mute}
    moved = _heard(rig) if rig is not None else {}
    for frame in frames:
        told = {name: curves[path].evaluate(frame) + boards[name] for name, path in paths.items() if path in curves}
        value = (plain | told).get
        matrices = {} if rig is None else _matrices(rig.pose, {p: c.evaluate(frame) for p, c in moved.items()})
        pose = rig.pose if rig is not None else None
        yield head_rig.state_of(head, lambda name, value=value: value(name, 0.0), pose, matrices)


def _heard(owner: bpy.types.ID) -> dict[tuple[str, int], Any]:
    """The curves that are not muted, by data path and index; of several the last counts."""
    return {
        (curve.data_path, curve.array_index): curve for curve in keyframes.played(owner) if not curve.mute
    }  # fmt: skip


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
