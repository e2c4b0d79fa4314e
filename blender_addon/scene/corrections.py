# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist changed of a tracked head in a frame: with bones, sliders or by moving the head or its armature.

Everything is read from what the artist can set (bones' own rotation and place, sliders, objects), keyed or not, and
compared with what the tracking's curves say there, so a frame that nobody touched has no difference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Euler, Matrix

from ..formats import FileError, Performance
from ..space import TO_BLENDER, camera_matrix_world, matrix_to_rotvec, rotation_to_engine, rotvec_to_matrix
from . import arkit, head_rig, keyframes
from .head_drivers import BONES, key_path
from .weight_network import HeadState

_MOVED = 2e-4  # radians, metres or a slider's units: less is rounding of keys
_TOO_FAR = 0.5  # metres from where the head was tracked: nobody corrects that much
_POSE, _JAW, _EYES, _EYELIDS, _EXPRESSION = slice(0, 6), slice(6, 9), slice(9, 13), slice(13, 15), slice(15, None)


@dataclass
class Shown:
    """One frame as it is shown: the clip's row, its numbers by name as in tracking.npz, and which differ [15+E]."""

    row: int
    frame: dict[str, np.ndarray]
    changed: np.ndarray

    def words(self) -> str:
        """What was changed, for a report; "" for nothing."""
        parts = [(_POSE, "the head"), (_JAW, "the jaw"), (_EYES, "the eyes"), (_EYELIDS, "the lids")]
        words = [name for part, name in parts if self.changed[part].any()]
        sliders = int(self.changed[_EXPRESSION].sum())
        if sliders:
            words.append("1 slider" if sliders == 1 else f"{sliders} sliders")
        return ", ".join(words)


def row_at(performance: Performance, start: float, fps: float, frame: float) -> int | None:
    """The clip's row that is shown at a frame of the timeline; None before, after and between its frames."""
    away = np.abs(start + performance.timestamps * fps - frame)
    row = int(away.argmin())
    return row if away[row] < 0.75 else None


def frame_of(performance: Performance, start: float, fps: float, row: int) -> int:
    """The frame of the timeline at which a row is shown."""
    return round(start + float(performance.timestamps[row]) * fps)


def shown(
    head: bpy.types.Object, camera: bpy.types.Object | None, performance: Performance, row: int, start: float,
    fps: float, frame: float,
) -> Shown:  # fmt: skip
    """What ``head`` does now, at ``frame`` of the timeline, which shows ``row``. camera: the one matched to the clip;
    the head counts as it stands before it. Raises FileError when the head was moved out of the picture."""
    rows = performance.valid_rows
    frames = start + performance.timestamps[rows] * fps
    expected = _expected(head, performance, rows, frames, frame)
    values = {name: np.array(performance.arrays[name][row], float) for name in (
        "neck_pose", "translation", "jaw_pose", "eyes_pose", "eyelids", "expression")}  # fmt: skip
    lost = not performance.arrays["valid"][row]
    changed = np.full(_EXPRESSION.start + values["expression"].size, lost)
    _sliders(head, performance, expected, values, changed, lost)
    _pose(head, camera, performance, row, expected, values, changed, lost)
    if np.linalg.norm(values["translation"] - performance.translation[row]) > _TOO_FAR:
        raise FileError(
            f"{head.name} stands far from where it was tracked: its armature or its camera was moved. Put them back "
            "(Alt G, Alt R), then move the head's bones."
        )
    return Shown(row, {name: value.astype(np.float32) for name, value in values.items()}, changed)


def settle(head: bpy.types.Object, camera: bpy.types.Object | None, performance: Performance) -> None:
    """After a correction's result has come: objects and sliders by which the artist showed it go back to rest, as the
    curves now say the same."""
    rig = head.blendsplat.rig
    if rig is not None and not _animated(rig, "location", "rotation_euler", "rotation_quaternion"):
        moved = _before_camera(camera, performance) @ rig.matrix_world
        if not _is_rest(moved):
            rig.matrix_world = _before_camera(camera, performance).inverted_safe()
    if not _is_rest(_in_rig(head)):
        head.matrix_local = Matrix.Identity(4)
    for name in _free_turns(head):
        head.data.shape_keys.key_blocks[name].value = 0.0


def choose_bone(rig: bpy.types.Object) -> None:
    """The head's bone, alone selected and active (in pose mode)."""
    for item in rig.pose.bones:
        holder = item if hasattr(item, "select") else item.bone  # 5.0 and later select pose bones
        holder.select = item.name == "neck"
    rig.data.bones.active = rig.data.bones["neck"]


def _expected(
    head: bpy.types.Object, performance: Performance, rows: np.ndarray, frames: np.ndarray, frame: float
) -> dict[str, float]:
    """By place: what the tracking says at ``frame``, straight between its keys."""
    keys, bones = head_rig.performance_curves(head, performance, rows, frames)
    return {curve.place: float(np.interp(frame, curve.frames, curve.values)) for curve in (*keys, *bones)}


def _sliders(
    head: bpy.types.Object, performance: Performance, expected: dict[str, float], values: dict[str, np.ndarray],
    changed: np.ndarray, lost: bool,
) -> None:  # fmt: skip
    """Shape keys: expressions and lids."""
    names = list(performance.meta.get("expression_names") or json.loads(head[head_rig.CUSTOM]["expressions"]))
    places = [("expression", column, name) for column, name in enumerate(names[: values["expression"].size])]
    places += [("eyelids", side, name) for side, name in enumerate(head_rig.EYELID_KEYS)]
    blocks = head.data.shape_keys.key_blocks
    for array, column, name in places:
        key, place = blocks.get(name), f"{key_path(name)} 0"
        if key is None or key.mute or place not in expected:
            continue
        difference = key.value - expected[place]
        if lost or abs(difference) > _MOVED:
            values[array][column] = key.value
            changed[(_EXPRESSION if array == "expression" else _EYELIDS).start + column] = True


def _pose(
    head: bpy.types.Object, camera: bpy.types.Object | None, performance: Performance, row: int,
    expected: dict[str, float], values: dict[str, np.ndarray], changed: np.ndarray, lost: bool,
) -> None:  # fmt: skip
    """Bones and objects: the head's rotation and place, jaw and eyes."""
    rig = head.blendsplat.rig
    if rig is None:
        return
    tracked = [_expected_rotation(expected, bone) for bone in BONES]
    own = [_own_rotation(rig.pose.bones[bone], tracked[index]) for index, bone in enumerate(BONES)]
    turned = [_slider_turn(head, bone) @ own[index] for index, bone in enumerate(BONES)]
    for index, (name, part) in enumerate((("jaw_pose", _JAW), ("eyes_pose", _EYES), ("eyes_pose", _EYES)), start=2):
        if lost or np.abs(turned[index] - tracked[index]).max() > _MOVED:
            vector = matrix_to_rotvec(turned[index])
            if name == "jaw_pose":
                values[name], changed[part] = vector, True
            else:
                eye = index - 3
                values[name][eye, :2] = vector[:2]  # eyes do not roll
                changed[part.start + 2 * eye : part.start + 2 * eye + 2] = True
    root, neck = own[0], own[1]
    rest, moves = _joints(head, performance, row)
    joints = rest + moves  # a bone turns about its rest place, and its location makes that the moved one
    place = np.array(rig.pose.bones["root"].location) - (moves[0] - root @ moves[0])
    place = place + root @ (np.array(rig.pose.bones["neck"].location) - (moves[1] - neck @ moves[1]))
    inside = _in_rig(head)
    if not _is_rest(inside):
        turn, shift = _engine(inside)
        place = place + root @ neck @ (turn @ joints[1] + shift - joints[1])
        neck = neck @ turn
    if not _animated(rig, "location", "rotation_euler", "rotation_quaternion"):
        outside = _before_camera(camera, performance) @ rig.matrix_world
        if not _is_rest(outside):
            turn, shift = _engine(outside)
            root, place = turn @ root, turn @ (joints[0] + place) + shift - joints[0]
    torso = rotvec_to_matrix(performance.root_pose[row])
    if np.abs(root - tracked[0]).max() > _MOVED:  # the torso is the clip's: its turn becomes the head's
        place = place + (root - torso) @ (joints[1] - joints[0])
        neck = torso.T @ root @ neck
    keyed = np.array([expected.get(f'pose.bones["root"].location {axis}', 0.0) for axis in range(3)])
    wanted = keyed - (moves[0] - tracked[0] @ moves[0])
    if lost or np.abs(neck - tracked[1]).max() > _MOVED or np.abs(place - wanted).max() > _MOVED:
        values["neck_pose"] = matrix_to_rotvec(neck)
        values["translation"] = place if lost else values["translation"] + place - wanted
        changed[_POSE] = True


def _joints(head: bpy.types.Object, performance: Performance, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints of root and neck at rest [2,3], engine axes, and how far the row's expression moves them [2,3]."""
    bones = head.blendsplat.rig.pose.bones
    rest = np.array([TO_BLENDER.T @ np.array(bones[bone].bone.head_local) for bone in BONES[:2]])
    names = json.loads(head[head_rig.CUSTOM]["expressions"])
    theirs = list(performance.meta.get("expression_names") or names)
    offsets = head_rig.joint_offsets(head, HeadState.of(performance), names, theirs)
    return rest, np.zeros((2, 3)) if offsets is None else offsets[row, :2]


def _expected_rotation(expected: dict[str, float], bone: str) -> np.ndarray:
    angles = [expected.get(f'pose.bones["{bone}"].rotation_euler {axis}', 0.0) for axis in range(3)]
    return np.array(Euler(angles, "XYZ").to_matrix())


def _own_rotation(item: bpy.types.PoseBone, tracked: np.ndarray) -> np.ndarray:
    """The bone's own rotation, whatever its mode, without scale; exactly the tracked one where nothing was moved."""
    u, _, vt = np.linalg.svd(np.array(item.matrix_basis.to_3x3()))
    own = u @ vt
    return tracked if np.abs(own - tracked).max() <= _MOVED else own


def _free_turns(head: bpy.types.Object) -> list[str]:
    """Sliders that turn a bone and that nothing else sets: the artist's hand. One that is keyed or driven is a layer of
    its own over the tracking, and stays."""
    blocks = head.data.shape_keys.key_blocks
    tracked = set(json.loads(head[head_rig.CUSTOM]["expressions"]))
    names = [name for name in arkit.TURNS if name in blocks and name not in tracked]
    return [name for name in names if not _animated(head.data.shape_keys, key_path(name)) and blocks[name].value]


def _slider_turn(head: bpy.types.Object, bone: str) -> np.ndarray:
    """The rotation by which sliders turn the bone."""
    blocks, angles = head.data.shape_keys.key_blocks, np.zeros(3)
    for name in _free_turns(head):
        if arkit.TURNS[name][0] == bone:
            angles += blocks[name].value * np.array(arkit.TURNS[name][1])
    return np.array(Euler(angles, "XYZ").to_matrix())


def _animated(owner: bpy.types.ID, *paths: str) -> bool:
    """A curve or a driver sets one of the owner's own properties."""
    data = owner.animation_data
    if data is None:
        return False
    return any(item.data_path in paths for item in (*keyframes.fcurves(owner), *data.drivers))


def _in_rig(head: bpy.types.Object) -> Matrix:
    """Where the head's object stands in its armature's space."""
    rig = head.blendsplat.rig
    return rig.matrix_world.inverted_safe() @ head.matrix_world if rig is not None else Matrix.Identity(4)


def _before_camera(camera: bpy.types.Object | None, performance: Performance) -> Matrix:
    """From the scene to where the clip's camera stands where it was matched: who moved both together moved nothing."""
    if camera is None:
        return Matrix.Identity(4)
    matched = Matrix(camera_matrix_world(performance.viewmat).tolist())
    return matched @ camera.matrix_world.inverted_safe()


def _is_rest(matrix: Matrix) -> bool:
    return bool(np.abs(np.array(matrix) - np.eye(4)).max() <= _MOVED)


def _engine(matrix: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """Rotation [3,3] and shift [3] of a matrix of Blender's axes, in the engine's; a scale is left out."""
    u, _, vt = np.linalg.svd(np.array(matrix.to_3x3()))
    return rotation_to_engine(u @ vt), TO_BLENDER.T @ np.array(matrix.translation)
