# SPDX-License-Identifier: GPL-3.0-or-later
"""What an avatar cannot do without, when an artist deleted it: found, named, and brought back.

Without its head all Gaussians fall together in one place; without its Geometry Nodes there are none. A head that was
deleted in the window is still in the file, because the avatar points at it; one that is gone is made anew from the
avatar's file.
"""

from __future__ import annotations

import contextlib

import bpy

from .. import formats
from . import avatar_nodes, avatar_rig, head_rig, linked, packed_avatar, reenact, retarget, seen_ranges

HEAD, BONES, NODES = "its head", "the bones of its head", "its Geometry Nodes"


def lost(carrier: bpy.types.Object) -> str:
    """What is missing of an avatar (HEAD, BONES or NODES), or "". A linked one is its own file's to repair."""
    if carrier.library is not None or carrier.blendsplat.kind != "AVATAR":
        return ""
    head = carrier.blendsplat.head
    if not _in_a_scene(head):
        return HEAD
    if not _in_a_scene(head.blendsplat.rig):
        return BONES
    modifier = avatar_rig.nodes_of(carrier)
    if modifier is None or avatar_nodes.input_of(modifier, avatar_nodes.INPUT_HEAD) is None:
        return NODES
    return ""


def sentence(carrier: bpy.types.Object) -> str:
    """What an artist is told of an avatar that has lost something, or ""."""
    what = lost(carrier)
    if not what:
        return ""
    follows = "it shows nothing" if what == NODES else "it cannot move" if what == BONES else "it falls together"
    return f"{carrier.name} has lost {what}: {follows}."


def repair(context: bpy.types.Context, carrier: bpy.types.Object) -> bool:
    """Bring back what is missing; what is there stays as it is -> True when the head is a new one, in its pose of rest.

    Needs Object Mode. Raises FileError when the head can only come from the avatar's file and that cannot be read.
    """
    renewed = False
    if lost(carrier) in (HEAD, BONES):
        renewed = not _bring_back(context, carrier)
        if renewed:
            _make_anew(context, carrier)
    avatar_rig.restore_nodes(carrier)
    return renewed


def play(
    carrier: bpy.types.Object, performance: formats.Performance, start: float, fps: float,
    acting: reenact.Acting | None = None,
) -> None:  # fmt: skip
    """Key a new head from its performance; the avatar's own keys stay. Raises FileError when the heads do not match."""
    head = carrier.blendsplat.head
    head_rig.check_performance(head, performance)
    other = carrier.blendsplat.foreign and retarget.foreign(performance, avatar_rig.reference_of(carrier))
    performance = avatar_rig.as_played(carrier, performance, other, acting)[0]
    head_rig.apply_performance(head, performance, start, fps)


def _in_a_scene(item: bpy.types.Object | None) -> bool:
    return item is not None and bool(item.users_scene)


def _bring_back(context: bpy.types.Context, carrier: bpy.types.Object) -> bool:
    """Put head and bones into the avatar's collection again; False where they are no longer in the file."""
    head = carrier.blendsplat.head
    if head is None or head.blendsplat.rig is None:
        return False
    collection = linked.collections_for(carrier, context.scene)[0]
    for item in (head, head.blendsplat.rig):
        if not _in_a_scene(item):
            collection.objects.link(item)
            if item == head:
                _hide(context, head)
    return True


def _make_anew(context: bpy.types.Context, carrier: bpy.types.Object) -> None:
    path = packed_avatar.file_of(carrier)
    if path is None:
        raise formats.FileError(f"{carrier.name!r} does not say which avatar file its head came from: choose its file.")
    file = formats.read_avatar(path)
    rig = file.rig
    head, before = head_rig.find_head(context.scene, rig), carrier.parent
    if head is None or not _in_a_scene(head.blendsplat.rig):
        head = head_rig.build_head(context, rig, carrier.name)
        if before is not None and before.blendsplat.kind == "RIG":  # where the artist had put the lost one
            head.parent.matrix_world = before.matrix_world
        _hide(context, head)
    carrier.blendsplat.head = head
    seen_ranges.note(head, file)
    linked.tie(carrier)
    if before is None or before.blendsplat.kind == "RIG":
        carrier.parent = head.parent
        carrier.matrix_parent_inverse.identity()
    modifier = avatar_rig.nodes_of(carrier)
    if modifier is not None:
        avatar_nodes.set_input(modifier, avatar_nodes.INPUT_HEAD, head)
        modifier.node_group = modifier.node_group  # Blender follows the new head only once this is set


def _hide(context: bpy.types.Context, head: bpy.types.Object) -> None:
    context.view_layer.update()  # from 5.0 on an object that came in is not in the view layer before
    with contextlib.suppress(RuntimeError):  # in a collection that this view layer excludes
        head.hide_set(True)
