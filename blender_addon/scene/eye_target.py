# SPDX-License-Identifier: GPL-3.0-or-later
"""A thing that both eyes look at: an armature of one bone before the face, a constraint on each eye, and one number for
how much.

At 0, where it begins, Blender leaves the constraints out and the tracked gaze plays untouched. The number lies on the
target and sets both constraints by plain drivers, so it is keyed once and plays without this add-on.
"""

from __future__ import annotations

import bpy
import numpy as np

from . import bone_shapes, handles
from .head_drivers import EYES, insert_before_joint

LOOK = "Look"  # the target's property: 0 the gaze as it is, 1 at the target
LOOK_PATH = f'["{LOOK}"]'
BONE = "eye target"
_NAME = "Eye Target"
_AWAY = 0.5  # metres before the face where it begins
_SIZE = 0.02


def target_of(head: bpy.types.Object) -> bpy.types.Object | None:
    """The head's target, while the constraints of both eyes have it."""
    found = [con.target for con in _constraints(head)]
    return found[0] if len(found) == len(EYES) and found[0] is not None and found[0] == found[1] else None


def cannot_add(head: bpy.types.Object) -> str:
    """Why this head can get no target, or ""."""
    rig = head.blendsplat.rig
    if rig is None or any(name not in rig.pose.bones for name in EYES):
        return f"{head.name} has no eye bones: repair its avatar, or add its head again."
    return f"{head.name} has an eye target already." if target_of(head) is not None else ""


def add(context: bpy.types.Context, head: bpy.types.Object) -> bpy.types.Object:
    """Add a target before the face where it is now -> its armature. Its influence is 0. In Object or Pose Mode."""
    remove(head)  # what is left of one that was deleted
    rig = head.blendsplat.rig
    at = _before_the_face(context, rig)
    target = handles.add(context, head, _NAME, handles.TARGET, at, {BONE: ((0.0, 0.0, 0.0), _SIZE, "")})
    bone_shapes.wear(target.pose.bones[BONE], _shape(rig), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "THEME09")
    target.pose.bones[BONE].lock_rotation = target.pose.bones[BONE].lock_scale = (True, True, True)
    target[LOOK] = 0.0
    target.id_properties_ui(LOOK).update(
        min=0.0, max=1.0, default=0.0, step=0.05, precision=2, subtype="FACTOR",
        description="How much both eyes look at the eye target. 0: the gaze as it was tracked or posed",
    )  # fmt: skip
    for name in EYES:
        con = insert_before_joint(rig.pose.bones[name], "DAMPED_TRACK")
        con.name, con.target, con.subtarget, con.track_axis = _NAME, target, BONE, "TRACK_Z"
        driver = con.driver_add("influence").driver
        driver.type = "AVERAGE"
        variable = driver.variables.new()
        variable.type = "SINGLE_PROP"
        variable.targets[0].id, variable.targets[0].data_path = target, LOOK_PATH
    return target


def remove(head: bpy.types.Object) -> None:
    """Take target and constraints away: the eyes look as they did before."""
    rig = head.blendsplat.rig
    for con in _constraints(head):
        con.driver_remove("influence")
    for name in EYES if rig is not None else ():
        item = rig.pose.bones.get(name)
        if item is not None and (con := item.constraints.get(_NAME)) is not None:
            item.constraints.remove(con)
    handles.remove(head, handles.TARGET)


def _constraints(head: bpy.types.Object) -> list[bpy.types.Constraint]:
    rig = head.blendsplat.rig
    bones = [rig.pose.bones.get(name) for name in EYES] if rig is not None else []
    found = [bone.constraints.get(_NAME) for bone in bones if bone is not None]
    return [con for con in found if con is not None]


def _shape(rig: bpy.types.Object) -> bpy.types.Object:
    """Two circles as far apart as the eyes, and a bar between."""
    left, right = (rig.data.bones[name].head_local for name in EYES)
    half = max((left - right).length / 2, 0.005)
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    radius = 0.6 * half
    points = [(side * half + radius * np.cos(a), radius * np.sin(a), 0.0) for side in (-1, 1) for a in angles]
    edges = [(32 * ring + a, 32 * ring + (a + 1) % 32) for ring in (0, 1) for a in range(32)]
    points += [(radius - half, 0.0, 0.0), (half - radius, 0.0, 0.0)]
    return bone_shapes.lines(f"target {half:.4f}", points, [*edges, (64, 65)])


def _before_the_face(context: bpy.types.Context, rig: bpy.types.Object) -> handles.Place:
    """In the armature's space, straight before the point between the eyes as the head is held now."""
    pose = rig.evaluated_get(context.evaluated_depsgraph_get()).pose
    eyes = [np.array(pose.bones[name].matrix) for name in EYES]
    neck = np.array(pose.bones[EYES[0]].parent.matrix) if pose.bones[EYES[0]].parent is not None else eyes[0]
    ahead = neck[:3, 2] / max(np.linalg.norm(neck[:3, 2]), 1e-9)
    x, y, z = np.mean([eye[:3, 3] for eye in eyes], 0) + _AWAY * ahead
    return float(x), float(y), float(z)
