# SPDX-License-Identifier: GPL-3.0-or-later
"""Armatures of handles beside a head's own: the eye target, the control board. They hang on the head's armature, have
bones with its axes (X to the person's left, Y up, Z to the artist), and are posed together with it.
"""

from __future__ import annotations

import bpy

Place = tuple[float, float, float]
TARGET, BOARD = "blendsplat_target", "blendsplat_board"  # on the head: the armature; on the armature: the head


def add(
    context: bpy.types.Context, head: bpy.types.Object, name: str, mark: str, at: Place,
    bones: dict[str, tuple[Place, float, str]],
) -> bpy.types.Object:  # fmt: skip
    """An armature at a place in the head's armature, the head's ``mark`` (TARGET or BOARD) from now on; ``bones``: by
    name, where each begins (metres, Blender's axes), its length and its parent's name or "". Mode, selection and active
    object are afterwards what they were."""
    rig = head.blendsplat.rig or head
    data = bpy.data.armatures.new(f"{head.name} {name}")
    item = bpy.data.objects.new(data.name, data)
    item.parent, item.location, item.show_in_front = rig, at, True
    item[mark], head[mark] = head, item
    own = [collection for collection in rig.users_collection if not (collection.library or collection.override_library)]
    for collection in (*own, context.scene.collection):
        collection.objects.link(item)
        context.view_layer.update()
        if item.visible_get():
            break
        collection.objects.unlink(item)  # where nobody sees it, it cannot be edited
    active = context.view_layer.objects.active
    mode = active.mode if active is not None else "OBJECT"
    if mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    context.view_layer.objects.active = item
    bpy.ops.object.mode_set(mode="EDIT")
    for bone, (start, length, parent) in bones.items():
        made = data.edit_bones.new(bone)
        made.head, made.tail = start, (start[0], start[1], start[2] + length)
        made.align_roll((0, -1, 0))
        made.parent = data.edit_bones.get(parent)
        made.use_deform = False
    bpy.ops.object.mode_set(mode="OBJECT")
    context.view_layer.objects.active = active
    if mode != "OBJECT":
        bpy.ops.object.mode_set(mode=mode)
    return item


def cannot_add(context: bpy.types.Context) -> str:
    """Why no armature can be made now, or ""."""
    return "" if context.mode in ("OBJECT", "POSE") else "Leave this mode first (Object Mode)."


def of(head: bpy.types.Object, mark: str) -> bpy.types.Object | None:
    """The head's armature of this mark, while both know each other."""
    item = head.get(mark)
    return item if item is not None and heads(item, mark) == head else None


def heads(item: bpy.types.Object, mark: str) -> bpy.types.Object | None:
    """The head whose armature with this mark the object is."""
    return item.get(mark) if item.type == "ARMATURE" else None


def remove(head: bpy.types.Object, mark: str) -> None:
    """Delete the head's armature of this mark, where it has one."""
    item = of(head, mark)
    if mark in head:
        del head[mark]
    if item is not None:
        data = item.data
        bpy.data.objects.remove(item)
        if not data.users:
            bpy.data.armatures.remove(data)


def pose(context: bpy.types.Context, items: list[bpy.types.Object]) -> None:
    """Take armatures in the hand together: Pose Mode with all of them."""
    if context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    for other in context.view_layer.objects:
        other.select_set(other in items)
    context.view_layer.objects.active = items[0]
    bpy.ops.object.mode_set(mode="POSE")
