# SPDX-License-Identifier: GPL-3.0-or-later
"""A thing that both eyes look at: an empty before the face, a constraint on each eye, and one number for how much.

At 0, where it begins, Blender leaves the constraints out and the tracked gaze plays untouched. The number lies on the
empty and sets both constraints by plain drivers, so it is keyed once and plays without this add-on.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Vector

from .head_drivers import EYES, insert_before_joint

LOOK = "Look"  # the empty's property: 0 the gaze as it is, 1 at the target
LOOK_PATH = f'["{LOOK}"]'
_NAME = "Eye Target"
_HEAD = "blendsplat_head"  # of the empty: whose eyes look at it
_AWAY = 0.5  # metres before the face where it begins
_SIZE = 0.02


def target_of(head: bpy.types.Object) -> bpy.types.Object | None:
    """The head's target, while the constraints of both eyes have it."""
    found = [con.target for con in _constraints(head)]
    return found[0] if len(found) == len(EYES) and found[0] is not None and found[0] == found[1] else None


def heads_target(item: bpy.types.Object) -> bpy.types.Object | None:
    """The head whose eyes look at this object."""
    return item.get(_HEAD) if item.type == "EMPTY" else None


def cannot_add(head: bpy.types.Object) -> str:
    """Why this head can get no target, or ""."""
    rig = head.blendsplat.rig
    if rig is None or any(name not in rig.pose.bones for name in EYES):
        return f"{head.name} has no eye bones: repair its avatar, or add its head again."
    return f"{head.name} has an eye target already." if target_of(head) is not None else ""


def add(context: bpy.types.Context, head: bpy.types.Object) -> bpy.types.Object:
    """Add a target before the face where it is now -> the empty. Its influence is 0."""
    remove(head)  # what is left of one that was deleted
    rig = head.blendsplat.rig
    target = bpy.data.objects.new(f"{head.name} {_NAME}", None)
    (rig.users_collection[0] if rig.users_collection else context.scene.collection).objects.link(target)
    target.empty_display_type, target.empty_display_size = "SPHERE", _SIZE
    target.show_in_front = True
    target.parent = rig
    target.location = _before_the_face(context, rig)
    target[_HEAD] = head
    target[LOOK] = 0.0
    target.id_properties_ui(LOOK).update(
        min=0.0, max=1.0, default=0.0, step=0.05, precision=2, subtype="FACTOR",
        description="How much both eyes look at the eye target. 0: the gaze as it was tracked or posed",
    )  # fmt: skip
    for name in EYES:
        con = insert_before_joint(rig.pose.bones[name], "DAMPED_TRACK")
        con.name, con.target, con.track_axis = _NAME, target, "TRACK_Z"
        driver = con.driver_add("influence").driver
        driver.type = "AVERAGE"
        variable = driver.variables.new()
        variable.type = "SINGLE_PROP"
        variable.targets[0].id, variable.targets[0].data_path = target, LOOK_PATH
    return target


def remove(head: bpy.types.Object) -> None:
    """Take target and constraints away: the eyes look as they did before."""
    rig, targets = head.blendsplat.rig, {con.target for con in _constraints(head)}
    for name in EYES if rig is not None else ():
        item = rig.pose.bones.get(name)
        con = item.constraints.get(_NAME) if item is not None else None
        if con is not None:
            con.driver_remove("influence")
            item.constraints.remove(con)
    for target in targets:
        if target is not None and heads_target(target) == head:
            bpy.data.objects.remove(target)


def _constraints(head: bpy.types.Object) -> list[bpy.types.Constraint]:
    rig = head.blendsplat.rig
    bones = [rig.pose.bones.get(name) for name in EYES] if rig is not None else []
    found = [bone.constraints.get(_NAME) for bone in bones if bone is not None]
    return [con for con in found if con is not None]


def _before_the_face(context: bpy.types.Context, rig: bpy.types.Object) -> Vector:
    """In the armature's space, straight before the point between the eyes as the head is held now."""
    pose = rig.evaluated_get(context.evaluated_depsgraph_get()).pose
    eyes = [np.array(pose.bones[name].matrix) for name in EYES]
    neck = np.array(pose.bones[EYES[0]].parent.matrix) if pose.bones[EYES[0]].parent is not None else eyes[0]
    ahead = neck[:3, 2] / max(np.linalg.norm(neck[:3, 2]), 1e-9)
    return Vector(np.mean([eye[:3, 3] for eye in eyes], 0) + _AWAY * ahead)
