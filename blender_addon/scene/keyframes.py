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

from .strips import push_down

_LINEAR = 1  # Keyframe.interpolation as foreach_set counts it
_MADE_BY_US = "blendsplat_performance"
_UNTOUCHED = 1e-5  # a number this near to what we set is still ours


@dataclass
class Curve:
    """One animated number: where, when (frames [F]) and what (values [F])."""

    data_path: str
    index: int
    frames: np.ndarray
    values: np.ndarray
    group: str = ""

    @property
    def place(self) -> str:
        """Where, in one word: what ``at`` takes."""
        return f"{self.data_path} {self.index}"

    @classmethod
    def at(cls, place: str, value: float) -> Curve:
        """One value at a place."""
        data_path, _, index = place.rpartition(" ")
        return cls(data_path, int(index), np.zeros(1), np.array([value]))


def write(owner: bpy.types.ID, curves: list[Curve], name: str) -> bpy.types.Action:
    """Give ``owner`` (object, shape keys, ...) an action of these curves.

    An action we wrote before is refilled, so that drivers, NLA strips and the artist's other curves stay; an action of
    the artist's own is kept in the file and a new one takes its place; one that is added to strips becomes a strip. Of
    a linked action a copy is refilled.
    """
    data = owner.animation_data or owner.animation_data_create()
    make_local(owner)
    if data.action is not None and data.action_blend_type != "REPLACE":
        push_down(data, data.action.name)
    if data.action is not None and not data.action.get(_MADE_BY_US):
        data.action.use_fake_user = True
        data.action = None
    channels = _ours(owner, name)
    for curve in curves:
        old = channels.find(curve.data_path, index=curve.index)
        if old is not None:
            channels.remove(old)
        _fill(_new_curve(channels, curve), curve)
    return data.action


def make_local(owner: bpy.types.ID) -> None:
    """Let an owner that is this file's own (an override) play a copy of an action that is linked from another file."""
    data = owner.animation_data
    if data is None or data.action is None or data.action.library is None:
        return
    slot = data.action_slot.identifier if getattr(data, "action_slot", None) is not None else ""
    data.action = data.action.copy()
    if slot:  # 4.4 and later
        data.action_slot = next(item for item in data.action.slots if item.identifier == slot)


def add(owner: bpy.types.ID, curves: list[Curve], name: str) -> None:
    """Give ``owner`` these curves beside whatever its action holds, whoever made it; one is made where it has none."""
    make_local(owner)
    channels = _ours(owner, name)
    for curve in curves:
        remove(owner, curve.data_path, curve.index)
        _fill(_new_curve(channels, curve), curve)


def remove(owner: bpy.types.ID, data_path: str, index: int = 0) -> None:
    """Take a curve out of the owner's action, where it is there."""
    if owner.animation_data is not None and owner.animation_data.action is not None:
        channels = _channels(owner.animation_data.action, owner.animation_data, owner)
        old = channels.find(data_path, index=index)
        if old is not None:
            channels.remove(old)


def points(fcurve: Any) -> np.ndarray:
    """[K,2]: frames and values of a curve's keys."""
    flat = np.empty(2 * len(fcurve.keyframe_points), np.float32)
    fcurve.keyframe_points.foreach_get("co", flat)
    return flat.reshape(-1, 2)


def take(owner: bpy.types.ID, curves: list[Curve], frame: float | None, before: dict[str, float]) -> dict[str, float]:
    """Give ``owner`` each curve's first value, plain or (with a frame) keyed -> the values by place, for the next time.

    ``before`` is what an earlier call returned: a number that an artist changed since, and curves that an artist made,
    are left as they are.
    """
    theirs = owner.animation_data is not None and owner.animation_data.action is not None
    theirs = theirs and not owner.animation_data.action.get(_MADE_BY_US)
    animated = {(item.data_path, item.array_index): item for item in fcurves(owner)}
    offered = {}
    for curve in curves:
        value = offered[curve.place] = float(curve.values[0])
        fcurve = animated.get((curve.data_path, curve.index))
        if fcurve is not None and (theirs or frame is None):
            continue
        now = _number(owner, curve) if fcurve is None else fcurve.evaluate(frame)
        if abs(now - before.get(curve.place, now)) > _UNTOUCHED:
            value = now
        if frame is None:
            _set_number(owner, curve, value)
        else:
            _insert(_ours(owner, f"{owner.name} photographs"), fcurve, curve, frame, value)
    return offered


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
    if owner.animation_data is not None:
        yield from _curves_played_by(owner.animation_data)


def played(owner: bpy.types.ID) -> Iterator[Any]:
    """Every F-curve that moves the owner: of its action and of its NLA strips' actions."""
    data = owner.animation_data
    if data is not None:
        for player in (data, *(strip for track in data.nla_tracks for strip in track.strips)):
            yield from _curves_played_by(player)


def action_of(name: str, parts: list[tuple[str, str, list[Curve]]]) -> bpy.types.Action:
    """A new action that nobody plays. parts: (the id type, as "KEY", of whom it is for, a name for it, its curves)."""
    action = bpy.data.actions.new(name)
    for id_type, who, curves in parts:
        channels = _slot_channels(action, action.slots.new(id_type, who)) if _has_slots(action) else action.fcurves
        for curve in curves:
            _fill(_new_curve(channels, curve), curve)
    return action


def curves_in(action: bpy.types.Action) -> Iterator[Any]:
    """Every F-curve of an action, whomever it is for."""
    if not _has_slots(action):
        yield from action.fcurves
        return
    for layer in action.layers:
        for strip in layer.strips:
            for bag in strip.channelbags:
                yield from bag.fcurves


def scale(owner: bpy.types.ID, data_path: str, factor: float) -> None:
    """Multiply what the owner's action, and its NLA strips' actions, say of one number."""
    for fcurve in played(owner):
        if fcurve.data_path == data_path:
            for point in fcurve.keyframe_points:
                for place in (point.co, point.handle_left, point.handle_right):
                    place.y *= factor
            fcurve.update()


def _curves_played_by(player: Any) -> Iterator[Any]:
    """The F-curves of an action that AnimData or an NLA strip plays."""
    action = player.action
    if action is None:
        return
    if not _has_slots(action):
        yield from action.fcurves
        return
    for layer in action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(player.action_slot) if player.action_slot is not None else None
            if bag is not None:
                yield from bag.fcurves


def _ours(owner: bpy.types.ID, name: str) -> Any:
    """Where the owner's curves are; an action of ours is made when it has none."""
    data = owner.animation_data or owner.animation_data_create()
    if data.action is None:
        data.action = bpy.data.actions.new(name)
        data.action[_MADE_BY_US] = True
    return _channels(data.action, data, owner)


def number(owner: bpy.types.ID, curve: Curve) -> float:
    """What is at a curve's place now."""
    return _number(owner, curve)


def set_number(owner: bpy.types.ID, curve: Curve, value: float) -> None:
    """Set what is at a curve's place now."""
    _set_number(owner, curve, value)


def mark_ours(action: bpy.types.Action) -> None:
    """Make an action one that ``write`` refills."""
    action[_MADE_BY_US] = True


def _number(owner: bpy.types.ID, curve: Curve) -> float:
    value = owner.path_resolve(curve.data_path)
    return float(value if isinstance(value, float) else value[curve.index])


def _set_number(owner: bpy.types.ID, curve: Curve, value: float) -> None:
    where, _, name = curve.data_path.rpartition(".")
    struct = owner.path_resolve(where)
    if isinstance(getattr(struct, name), float):
        setattr(struct, name, value)
    else:
        getattr(struct, name)[curve.index] = value


def _insert(channels: Any, fcurve: Any, curve: Curve, frame: float, value: float) -> None:
    if fcurve is None:
        fcurve = _new_curve(channels, curve)
    fcurve.keyframe_points.insert(frame, value).interpolation = "LINEAR"
    fcurve.update()


def _channels(action: bpy.types.Action, data: bpy.types.AnimData, owner: bpy.types.ID) -> Any:
    """The collection that holds the owner's curves, made where it is missing."""
    if not _has_slots(action):
        return action.fcurves
    slot = data.action_slot
    if slot is None:
        slot = action.slots.new(owner.id_type, owner.name)
        data.action_slot = slot
    return _slot_channels(action, slot)


def _has_slots(action: bpy.types.Action) -> bool:
    """From 4.4 on."""
    return hasattr(action, "layers")


def _slot_channels(action: bpy.types.Action, slot: Any) -> Any:
    """The collection that holds a slot's curves, made where it is missing."""
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
