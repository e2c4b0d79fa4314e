# SPDX-License-Identifier: GPL-3.0-or-later
"""What moves a head by itself: drivers from bones to pose correctives, and from sliders to joints, moved or turned.

All of them are plain expressions, which play without the add-on and without running scripts.
"""

from __future__ import annotations

import string

import bpy
import numpy as np

from ..formats import Rig
from . import arkit

BONES = ("root", "neck", "jaw", "eye.L", "eye.R")
EYES = BONES[3:]
_CORRECTIVE_BONES = BONES[1:]
# Entries of R(w, x, y, z) - I, row-major, as Blender's simple driver expressions (no scripts need to run for them).
_ROTATION_ENTRIES = (
    "-2*(y*y+z*z)", "2*(x*y-w*z)", "2*(x*z+w*y)",
    "2*(x*y+w*z)", "-2*(x*x+z*z)", "2*(y*z-w*x)",
    "2*(x*z-w*y)", "2*(y*z+w*x)", "-2*(x*x+y*y)",
)  # fmt: skip
TURN = "Slider"  # the constraint by which sliders turn a bone
PIVOT = "Joint"  # the constraint by which sliders move a joint
OWN_CONSTRAINTS = (TURN, PIVOT)
_PIVOT_TERMS = 16  # keys that one driver sums


def identity_key(name: str) -> str:
    """The name of the shape key of one direction of shape: all begin alike, so that the list can be searched."""
    return f"identity {name.removeprefix('identity').removeprefix('_')}"


def corrective_name(index: int) -> str:
    """The name of the shape key of one entry of a bone's rotation, 0 to 35."""
    return f"corrective {_CORRECTIVE_BONES[index // 9]} {index % 9}"


def key_path(name: str) -> str:
    """Where a shape key's value lies, seen from its Key."""
    return f'key_blocks["{bpy.utils.escape_identifier(name)}"].value'


def bone_sliders(rig: Rig) -> tuple[str, ...]:
    """ARKit's names for which this head has bones instead of shape keys."""
    moved = {bone for bone, weights in zip(BONES, rig.skin_weights.T, strict=True) if weights.max() > 0}
    return tuple(name for name in arkit.bone_sliders(rig.expression_names) if arkit.TURNS[name][0] in moved)


def slider_bone(bone: str) -> str:
    """The bone that sliders turn and ``bone`` copies, so that its own rotation stays free for keyframes and hands."""
    return f"{bone} sliders"


def drive_turns(head: bpy.types.Object, armature: bpy.types.Object, rig: Rig) -> None:
    """Let sliders turn jaw and eyes, on top of the bones' own rotations. Before drive_joints: pivots come last."""
    names = bone_sliders(rig)
    for bone in BONES:
        turns = [(name, arkit.TURNS[name][1]) for name in names if arkit.TURNS[name][0] == bone]
        if not turns:
            continue
        turned = armature.pose.bones[slider_bone(bone)]
        for axis in range(3):
            terms = [(name, radians[axis], 0.0) for name, radians in turns if radians[axis]]
            if terms:
                _drive_by_keys(turned.driver_add("rotation_euler", axis).driver, head, terms)
        copied = armature.pose.bones[bone].constraints.new("COPY_ROTATION")
        copied.name, copied.target, copied.subtarget, copied.mix_mode = TURN, armature, turned.name, "BEFORE"
        copied.owner_space = copied.target_space = "LOCAL"


def drive_correctives(head: bpy.types.Object, armature: bpy.types.Object, rig: Rig) -> None:
    """Let the bones' rotations set the pose correctives: key i is entry i % 9 of R - I of bone i // 9."""
    blocks = head.data.shape_keys.key_blocks
    for index in range(len(rig.pose_directions)):
        key = blocks.get(corrective_name(index))
        if key is None:
            continue
        driver = key.driver_add("value").driver
        driver.type = "SCRIPTED"
        for letter, channel in zip("wxyz", ("ROT_W", "ROT_X", "ROT_Y", "ROT_Z"), strict=True):
            variable = driver.variables.new()
            variable.name, variable.type = letter, "TRANSFORMS"
            target = variable.targets[0]
            target.id, target.bone_target = armature, _CORRECTIVE_BONES[index // 9]
            target.transform_type, target.rotation_mode, target.transform_space = channel, "QUATERNION", "LOCAL_SPACE"
        driver.expression = _ROTATION_ENTRIES[index % 9]


def drive_joints(head: bpy.types.Object, armature: bpy.types.Object, rig: Rig, fitted: np.ndarray) -> None:
    """Let sliders move the joints: every bone turns about a pivot that drivers shift from where its joint was fitted.

    A driver's text has 255 letters, so on heads whose every direction moves every joint (FLAME) the largest count; with
    the fitted numbers the shift is zero in any case.
    """
    names = [*(identity_key(name) for name in rig.shape_names), *rig.expression_names]
    moves = np.concatenate([rig.joint_shape_directions, rig.joint_expression_directions]).astype(float)  # [S+E,5,3]
    values = np.concatenate([rig.shape, fitted]).astype(float)
    present = np.array([name in head.data.shape_keys.key_blocks for name in names])
    moves = moves.round(7) * present[:, None, None]
    for index, bone in enumerate(BONES):
        if not moves[:, index].any():
            continue
        pivot = armature.pose.bones[bone].constraints.new("PIVOT")
        pivot.name, pivot.owner_space, pivot.rotation_range = PIVOT, "LOCAL", "ALWAYS_ACTIVE"
        pivot.use_relative_location = True
        for axis in range(3):
            metres = moves[:, index, axis]
            largest = [int(term) for term in np.argsort(-np.abs(metres))[:_PIVOT_TERMS] if metres[term]]
            if largest:
                driver = pivot.driver_add("offset", axis).driver
                _drive_by_keys(driver, head, [(names[term], metres[term], values[term]) for term in largest])


def _drive_by_keys(driver: bpy.types.Driver, head: bpy.types.Object, terms: list[tuple[str, float, float]]) -> None:
    """Sum over (key's name, metres or radians, its fitted value) of metres * (key - value)."""
    driver.type = "SCRIPTED"
    words = [f"{-sum(metres * value for _, metres, value in terms):.10f}"]
    for letter, (name, metres, _) in zip(string.ascii_lowercase, terms, strict=False):
        variable = driver.variables.new()
        variable.name, variable.type = letter, "SINGLE_PROP"
        target = variable.targets[0]
        target.id_type, target.id = "KEY", head.data.shape_keys
        target.data_path = key_path(name)
        words.append(f"{metres:+.7f}*{letter}")
    driver.expression = "".join(words)


def insert_before_joint(item: bpy.types.PoseBone, kind: str) -> bpy.types.Constraint:
    """A new constraint that turns the bone, before the one by which sliders move its joint: that comes last."""
    added = item.constraints.new(kind)
    where = item.constraints.find(PIVOT)
    if where >= 0:
        item.constraints.move(len(item.constraints) - 1, where)
        added = item.constraints[where]
    return added


def pivot_offset(item: bpy.types.PoseBone) -> np.ndarray:
    """How far sliders moved the bone's joint [3] (engine axes, which are the bone's own)."""
    pivot = item.constraints.get(PIVOT)
    return np.array(pivot.offset) if pivot is not None else np.zeros(3)
