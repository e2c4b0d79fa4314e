# SPDX-License-Identifier: GPL-3.0-or-later
"""A performance on trial: head and avatar play it from actions of its own, and everything is afterwards as it was.

What was there is kept in custom properties of the data-blocks, so that a preview survives saving and undo.
"""

from __future__ import annotations

import json
from typing import Any

import bpy

from ..formats import FileError, Performance
from . import avatar_rig, keyframes, learned_keys, reenact

_KEPT = "blendsplat_before_preview"
_ROTATIONS = ("location", "rotation_euler", "rotation_quaternion", "rotation_axis_angle", "scale")
_TOLD = ("foreign", "remark")


def running(carrier: bpy.types.Object) -> bool:
    """Whether the avatar plays a performance on trial."""
    return any(_KEPT in owner for owner in _owners(carrier))


def start(carrier: bpy.types.Object, performance: Performance, first: float, fps: float, acting: reenact.Acting) -> int:
    """Let head and avatar play a performance until ``stop``; returns the number of frames. Raises FileError (nothing is
    changed then)."""
    stop(carrier)
    if not len(performance.valid_rows):
        raise FileError(f"{performance.path} shows a face in none of its frames.")
    try:
        hold(carrier)
        return avatar_rig.apply_performance(carrier, performance, first, fps, acting=acting, room=False)
    except Exception:
        stop(carrier)
        raise


def hold(carrier: bpy.types.Object, *, copies: bool = True) -> None:
    """Remember all that a performance may change; head and avatar have copies of their actions, or none, until
    ``stop``."""
    for owner in _owners(carrier):
        _keep(owner, copies)
    carrier[_KEPT] = json.dumps({item.name: _told(item) for item in _heads_and_avatars(carrier)})
    for key in learned_keys.found(carrier).values():  # whatever the weights, the keys themselves stay as they are
        key.slider_min, key.slider_max = -learned_keys.LIMIT, learned_keys.LIMIT


def stop(carrier: bpy.types.Object) -> bool:
    """End a preview: actions, values, ranges and remarks are as before; False where there was none."""
    found = [owner for owner in _owners(carrier) if _KEPT in owner]
    for owner in found:
        _give_back(owner)
    if _KEPT in carrier:
        told = json.loads(carrier[_KEPT])
        for item in _heads_and_avatars(carrier):
            for name, value in told.get(item.name, {}).items():
                setattr(item.blendsplat, name, value)
        del carrier[_KEPT]
    return bool(found)


def _owners(carrier: bpy.types.Object) -> list[bpy.types.ID]:
    """What a performance animates: the head's keys, its bones, the avatar's keys."""
    head = carrier.blendsplat.head
    owners = [carrier.data.shape_keys]
    if head is not None:
        owners += [head.data.shape_keys, head.blendsplat.rig]
    return [owner for owner in owners if owner is not None]


def _heads_and_avatars(carrier: bpy.types.Object) -> list[bpy.types.Object]:
    return [item for item in (carrier, carrier.blendsplat.head) if item is not None]


def _told(item: bpy.types.Object) -> dict[str, Any]:
    return {name: getattr(item.blendsplat, name) for name in _TOLD}


def _keep(owner: bpy.types.ID, copies: bool) -> None:
    """Remember an owner's action and values, and let it have an action of the preview's own, a copy."""
    data = owner.animation_data
    kept: dict[str, Any] = {"animated": data is not None, "values": json.dumps(_values(owner))}
    if data is not None and data.action is not None:
        kept["action"] = data.action
        kept["slot"] = data.action_slot.identifier if getattr(data, "action_slot", None) is not None else ""
        kept["fake_user"] = data.action.use_fake_user
    owner[_KEPT] = kept
    if data is None:
        return
    preview = data.action.copy() if copies and data.action is not None else None
    data.action = preview
    if preview is not None:
        keyframes.mark_ours(preview)
        preview.use_fake_user = False
        _choose_slot(data, kept["slot"])


def _give_back(owner: bpy.types.ID) -> None:
    kept, data = owner[_KEPT], owner.animation_data
    preview = data.action if data is not None else None
    action = kept.get("action")
    if data is not None:
        data.action = action
        if action is not None:
            action.use_fake_user = bool(kept["fake_user"])
            _choose_slot(data, kept["slot"])
        if not kept["animated"] and not len(data.drivers) and not len(data.nla_tracks):
            owner.animation_data_clear()
    _set_values(owner, json.loads(kept["values"]))
    del owner[_KEPT]
    if preview is not None and preview != action and not preview.users:
        bpy.data.actions.remove(preview)


def _choose_slot(data: bpy.types.AnimData, identifier: str) -> None:
    for slot in getattr(data.action, "slots", ()):
        if slot.identifier == identifier:
            data.action_slot = slot


def _values(owner: bpy.types.ID) -> dict[str, list[float]]:
    """What a performance may change: of shape keys value and range, of bones where they are."""
    if isinstance(owner, bpy.types.Key):
        return {key.name: [key.value, key.slider_min, key.slider_max] for key in owner.key_blocks}
    return {
        bone.name: [number for name in _ROTATIONS for number in getattr(bone, name)] for bone in owner.pose.bones
    }  # fmt: skip


def _set_values(owner: bpy.types.ID, values: dict[str, list[float]]) -> None:
    for name, numbers in values.items():
        if isinstance(owner, bpy.types.Key):
            key = owner.key_blocks.get(name)
            if key is not None:
                key.slider_min, key.slider_max = min(numbers[1], key.slider_max), numbers[2]
                key.slider_min = numbers[1]
                key.value = numbers[0]
            continue
        bone = owner.pose.bones.get(name)
        for channel in _ROTATIONS if bone is not None else ():
            count = len(getattr(bone, channel))
            setattr(bone, channel, numbers[:count])
            numbers = numbers[count:]
