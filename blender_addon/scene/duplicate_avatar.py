# SPDX-License-Identifier: GPL-3.0-or-later
"""A second avatar of the same person with a head, bones and keyframes of its own.

Blender keeps a shape key's value in the mesh that has the key, so two faces that move by themselves need two meshes:
they are copied, and so are the actions. Bones' data, materials, node groups and the avatar's file are shared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import bpy
from mathutils import Matrix

from . import avatar_nodes, handles, linked


def duplicate(context: bpy.types.Context, carrier: bpy.types.Object, beside: float) -> bpy.types.Object:
    """The copy, ``beside`` metres to the right of the first (as a camera before its face sees it, along the world's X),
    in a collection of its own. Its head is hidden. Needs Object Mode and an avatar with its head."""
    head = carrier.blendsplat.head
    rig = head.blendsplat.rig
    marks = {mark: item for mark in (handles.TARGET, handles.BOARD) if (item := handles.of(head, mark)) is not None}
    items = [item for item in (rig, *marks.values(), head, carrier) if item is not None]
    copies: dict[bpy.types.ID, bpy.types.ID] = {item: item.copy() for item in items}
    for item in (head, carrier):
        copies[item].data = item.data.copy()
        copies[item.data] = copies[item].data
        copies[item.data.shape_keys] = copies[item].data.shape_keys
    for item in copies.values():
        _own_actions(item)
        _redirect(item, copies)
    made, new_head = copies[carrier], copies[head]
    made.blendsplat.head, new_head.blendsplat.rig = new_head, copies.get(rig)
    linked.tie(made)
    for mark, item in marks.items():
        new_head[mark], copies[item][mark] = copies[item], new_head
    _put(context, carrier, [copies[item] for item in items])
    handle = copies.get(rig) or made
    handle.matrix_world = Matrix.Translation((beside, 0, 0)) @ handle.matrix_world
    context.view_layer.update()  # from 5.0 on new objects are not in the view layer before
    with contextlib.suppress(RuntimeError):
        new_head.hide_set(True)
    return made


def sharers(carrier: bpy.types.Object) -> list[bpy.types.Object]:
    """Other avatars whose sliders are this one's, because they share its mesh (Alt D)."""
    if carrier.data is None or carrier.data.users < 2:
        return []
    return [
        item for item in bpy.data.objects
        if item != carrier and item.data == carrier.data and item.blendsplat.kind == "AVATAR" and item.users_scene
    ]  # fmt: skip


def shared_sentence(carrier: bpy.types.Object) -> str:
    """What an artist is told of an avatar that shares its sliders, or ""."""
    names = [item.name for item in sharers(carrier)]
    if not names:
        return ""
    return (
        f"{carrier.name} and {', '.join(names[:3])} are linked duplicates (Alt D): one face, whichever you move. For a "
        "face of its own delete the duplicate and press Duplicate Avatar."
    )


def _own_actions(item: bpy.types.ID) -> None:
    """Copies of all actions that move it, so that keys set on one avatar are not the other's."""
    data = item.animation_data
    if data is None:
        return
    for player in (data, *(strip for track in data.nla_tracks for strip in track.strips)):
        if player.action is None:
            continue
        slot = getattr(player, "action_slot", None)
        identifier = slot.identifier if slot is not None else ""
        player.action = player.action.copy()
        if identifier:  # 4.4 and later
            player.action_slot = next(slot for slot in player.action.slots if slot.identifier == identifier)


def _redirect(item: bpy.types.ID, copies: dict[bpy.types.ID, bpy.types.ID]) -> None:
    """Whatever of the first avatar it points at (parent, modifiers, constraints, drivers) becomes the copy's own."""
    for owner, name in _pointers(item):
        target = getattr(owner, name)
        if target in copies:
            setattr(owner, name, copies[target])
    if isinstance(item, bpy.types.Object):
        for modifier in item.modifiers:
            if modifier.type == "NODES" and modifier.node_group is not None:
                _redirect_inputs(modifier, copies)
    if item.animation_data is not None:
        for curve in item.animation_data.drivers:
            for variable in curve.driver.variables:
                for target in variable.targets:
                    if target.id in copies:
                        target.id = copies[target.id]


def _pointers(item: bpy.types.ID) -> Iterator[tuple[Any, str]]:
    if not isinstance(item, bpy.types.Object):
        return
    yield item, "parent"
    owners = [*item.modifiers, *item.constraints]
    if item.pose is not None:
        owners += [constraint for bone in item.pose.bones for constraint in bone.constraints]
    for owner in owners:
        for prop in owner.bl_rna.properties:
            if prop.type == "POINTER" and not prop.is_readonly and prop.fixed_type.identifier == "Object":
                yield owner, prop.identifier


def _redirect_inputs(modifier: bpy.types.NodesModifier, copies: dict[bpy.types.ID, bpy.types.ID]) -> None:
    group = modifier.node_group
    for socket in group.interface.items_tree:
        if socket.item_type == "SOCKET" and socket.in_out == "INPUT" and socket.socket_type == "NodeSocketObject":
            value = avatar_nodes.input_of(modifier, socket.name)
            if value in copies:
                avatar_nodes.set_input(modifier, socket.name, copies[value])


def _put(context: bpy.types.Context, carrier: bpy.types.Object, items: list[bpy.types.Object]) -> None:
    """Into a new collection beside that of the first avatar."""
    collection = bpy.data.collections.new(items[-1].name)
    home = carrier.users_collection[0] if carrier.users_collection else context.scene.collection
    above = next((one for one in context.scene.collection.children_recursive if home.name in one.children), None)
    (above or context.scene.collection).children.link(collection)
    for item in items:
        collection.objects.link(item)
