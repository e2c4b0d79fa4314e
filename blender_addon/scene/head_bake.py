# SPDX-License-Identifier: GPL-3.0-or-later
"""What a head's sliders and bones do in frames of the timeline, whatever makes them do it, as plain keyframes.

Drivers, strips of the NLA, constraints and other rigs are read as Blender evaluates them, in a scene of their own. What
is the head's own machinery (the bones that sliders turn, joints that sliders move, pose correctives) stays and is not
baked: it would count twice. What a control board adds goes into the sliders, and its handles are cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix

from . import control_board, face_pose, head_rig, keyframes
from .head_drivers import BONES, OWN_CONSTRAINTS, PIVOT, TURN, key_path, slider_bone


@dataclass
class Row:
    """One frame: values [S] of the sliders, and the bones' locations and rotations (Euler or quaternion)."""

    values: list[float]
    bones: dict[str, tuple[Matrix, str]]


def sliders_of(head: bpy.types.Object) -> list[str]:
    """The sliders that are baked: the face's, without those that stay muted."""
    blocks = head.data.shape_keys.key_blocks
    return [name for name in face_pose.slider_names(head) if not blocks[name].mute]


def row_of(head: bpy.types.Object, names: Sequence[str]) -> Callable[[bpy.types.Depsgraph], Row]:
    """A function that reads one frame's row of an evaluated head."""
    rig = head.blendsplat.rig

    def take(depsgraph: bpy.types.Depsgraph) -> Row:
        blocks = head.data.shape_keys.evaluated_get(depsgraph).key_blocks
        values = [float(blocks[name].value) + control_board.added(blocks, name) for name in names]
        if rig is None:
            return Row(values, {})
        evaluated = rig.evaluated_get(depsgraph)
        bones = evaluated.pose.bones
        return Row(values, {
            name: (_own_basis(evaluated, bones[name], bones.get(slider_bone(name))), bones[name].rotation_mode)
            for name in BONES if name in bones
        })  # fmt: skip

    return take


def _own_basis(rig: bpy.types.Object, item: bpy.types.PoseBone, turned: bpy.types.PoseBone | None) -> Matrix:
    """The basis that gives the bone's evaluated matrix where only the head's own constraints are left."""
    if not any(not own(one) and not one.mute and one.influence > 0 for one in item.constraints):
        return item.matrix_basis.copy()  # nothing foreign: what its own curves and drivers say, exactly
    basis = rig.convert_space(pose_bone=item, matrix=item.matrix, from_space="POSE", to_space="LOCAL")
    place, rotation, scale = basis.decompose()
    if turned is not None and TURN in item.constraints and not item.constraints[TURN].mute:
        rotation = turned.matrix_basis.to_quaternion().inverted() @ rotation
    if PIVOT in item.constraints:
        place = item.location  # the pivot moves the bone as well
    return Matrix.LocRotScale(place, rotation, scale)


def own(constraint: bpy.types.Constraint) -> bool:
    """It is one that came with the head."""
    return constraint.name in OWN_CONSTRAINTS


def write(head: bpy.types.Object, frames: Sequence[int], rows: Sequence[Row], name: str) -> int:
    """Keyframes of the rows at the frames, in new actions named after ``name`` -> how many numbers are keyed. What
    played until now is kept in the file and silenced: tracks, drivers of the sliders and foreign constraints are muted,
    an action becomes a fake user."""
    times, names = np.asarray(frames, float), sliders_of(head)
    values = np.array([row.values for row in rows], float).reshape(len(rows), len(names))
    moving = [column for column in range(len(names)) if _counts(head, names[column], values[:, column])]
    sliders = [keyframes.Curve(key_path(names[i]), 0, times, values[:, i]) for i in moving]
    bones = _bone_curves(head, times, rows)
    keys, rig = head.data.shape_keys, head.blendsplat.rig
    boards = control_board.keys_of(head)
    _silence(keys, {curve.data_path for curve in sliders} | {key_path(key.name) for key in boards})
    for key in boards:
        key.value = 0.0
    head_rig.widen_sliders(head, sliders)
    _write(keys, sliders, f"{name} sliders")
    if rig is not None:
        _silence(rig, {curve.data_path for curve in bones})
        for bone in BONES:
            for constraint in rig.pose.bones[bone].constraints if bone in rig.pose.bones else ():
                if not own(constraint):
                    constraint.mute = True
        _write(rig, bones, f"{name} bones")
    return len(sliders) + len(bones)


def _counts(head: bpy.types.Object, name: str, values: np.ndarray) -> bool:
    """A slider that never moves needs no keys, unless it stands elsewhere now or something else moves it."""
    now = head.data.shape_keys.key_blocks[name].value
    still = np.ptp(values) < 1e-7 and abs(float(values[0]) - now) < 1e-7
    return not still or any(curve.data_path == key_path(name) for curve in keyframes.played(head.data.shape_keys)) or (
        key_path(name) in face_pose.driven_paths(head.data.shape_keys)
    )  # fmt: skip


def _bone_curves(head: bpy.types.Object, times: np.ndarray, rows: Sequence[Row]) -> list[keyframes.Curve]:
    curves = []
    for bone, (_, mode) in rows[0].bones.items():
        path = f'pose.bones["{bone}"]'
        matrices = [row.bones[bone][0] for row in rows]
        places = np.array([matrix.translation for matrix in matrices])
        if mode == "QUATERNION":
            channel, turns = "rotation_quaternion", _quaternions(matrices)
        elif mode == "AXIS_ANGLE":
            channel, turns = "rotation_axis_angle", _axis_angles(matrices)
        else:
            channel, turns = "rotation_euler", _eulers(matrices, mode)
        curves += [keyframes.Curve(f"{path}.location", axis, times, places[:, axis], bone) for axis in range(3)]
        curves += [
            keyframes.Curve(f"{path}.{channel}", axis, times, turns[:, axis], bone) for axis in range(turns.shape[1])
        ]
    return curves


def _eulers(matrices: Sequence[Matrix], order: str) -> np.ndarray:
    """Angles [F,3] without full turns between neighbours."""
    turned = [matrices[0].to_euler(order)]
    for matrix in matrices[1:]:
        turned.append(matrix.to_euler(order, turned[-1]))
    return np.array(turned)


def _quaternions(matrices: Sequence[Matrix]) -> np.ndarray:
    """[F,4], neighbours on the same half of the sphere."""
    found = [matrices[0].to_quaternion()]
    for matrix in matrices[1:]:
        following = matrix.to_quaternion()
        found.append(following if following.dot(found[-1]) >= 0 else -following)
    return np.array(found)


def _axis_angles(matrices: Sequence[Matrix]) -> np.ndarray:
    """[F,4]: angle, axis."""
    told = [quaternion.to_axis_angle() for quaternion in (matrix.to_quaternion() for matrix in matrices)]
    return np.array([[angle, *axis] for axis, angle in told])


def _silence(owner: bpy.types.ID, paths: set[str]) -> None:
    """Mute what else would move these numbers of the owner."""
    data = owner.animation_data
    if data is None:
        return
    for track in data.nla_tracks:
        track.mute = True
    for driver in data.drivers:
        if driver.data_path in paths:
            driver.mute = True


def _write(owner: bpy.types.ID, curves: list[keyframes.Curve], name: str) -> None:
    data = owner.animation_data or owner.animation_data_create()
    if data.action is not None:
        data.action.use_fake_user = True
        data.action = None
    data.action_blend_type, data.action_influence = "REPLACE", 1.0
    keyframes.write(owner, curves, name)
