# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole curves at once, through Blender's old Action API (4.2, 4.3) and the one with slots and layers (4.4 and later).

A performance has a hundred curves of a thousand keys: they are written as arrays, never key by key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

_LINEAR = 1  # Keyframe.interpolation as foreach_set counts it
_MADE_BY_US = "blendsplat_performance"


@dataclass
class Curve:
    """One animated number: where, when (frames [F]) and what (values [F])."""

    data_path: str
    index: int
    frames: np.ndarray
    values: np.ndarray
    group: str = ""


def write(owner: bpy.types.ID, curves: list[Curve], name: str) -> bpy.types.Action:
    """Give ``owner`` (object, shape keys, ...) an action of these curves.

    An action we wrote before is refilled, so that drivers, NLA strips and the artist's other curves stay; an action of
    the artist's own is kept in the file and a new one takes its place.
    """
    data = owner.animation_data or owner.animation_data_create()
    action = data.action
    if action is None or not action.get(_MADE_BY_US):
        if action is not None:
            action.use_fake_user = True
        action = bpy.data.actions.new(name)
        action[_MADE_BY_US] = True
        data.action = action
    channels = _channels(action, data, owner)
    for curve in curves:
        old = channels.find(curve.data_path, index=curve.index)
        if old is not None:
            channels.remove(old)
        _fill(_new_curve(channels, curve), curve)
    return action


def hand_over(source: bpy.types.ID, target: bpy.types.ID) -> None:
    """Let ``target`` play the action, NLA tracks aside, and the drivers of ``source`` (data of the same kind)."""
    old = source.animation_data
    if old is None:
        return
    new = target.animation_data_create()
    new.action = old.action
    if hasattr(old, "action_slot"):
        new.action_slot = old.action_slot
    for driver in old.drivers:
        new.drivers.from_existing(src_driver=driver)


def fcurves(owner: bpy.types.ID) -> Iterator[Any]:
    """Every F-curve of the owner's action, whichever API holds them."""
    data = owner.animation_data
    if data is None or data.action is None:
        return
    action = data.action
    if not hasattr(action, "layers"):
        yield from action.fcurves
        return
    for layer in action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(data.action_slot) if data.action_slot is not None else None
            if bag is not None:
                yield from bag.fcurves


def _channels(action: bpy.types.Action, data: bpy.types.AnimData, owner: bpy.types.ID) -> Any:
    """The collection that holds the owner's curves, made where it is missing."""
    if not hasattr(action, "layers"):
        return action.fcurves
    slot = data.action_slot
    if slot is None:
        slot = action.slots.new(owner.id_type, owner.name)
        data.action_slot = slot
    layer = action.layers[0] if len(action.layers) else action.layers.new("Layer")
    strip = layer.strips[0] if len(layer.strips) else layer.strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=True).fcurves


def _new_curve(channels: Any, curve: Curve) -> Any:
    if curve.group:
        for argument in ("group_name", "action_group"):  # 5.0 and later; 4.2 and 4.3; 4.4 and 4.5 know neither
            try:
                return channels.new(curve.data_path, index=curve.index, **{argument: curve.group})
            except TypeError:
                continue
    return channels.new(curve.data_path, index=curve.index)


def _fill(fcurve: Any, curve: Curve) -> None:
    points = fcurve.keyframe_points
    points.add(len(curve.frames))
    points.foreach_set("co", np.stack([curve.frames, curve.values], 1).astype(np.float32).ravel())
    points.foreach_set("interpolation", np.full(len(curve.frames), _LINEAR, dtype=np.int32))
    fcurve.update()
