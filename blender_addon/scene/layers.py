# SPDX-License-Identifier: GPL-3.0-or-later
"""Performances as strips of the NLA, and layers of hand-made corrections that Blender adds to them.

All of it is Blender's own: tracks and strips can be moved, trimmed, blended and muted in the NLA Editor, and play
without this add-on. A layer is an action whose blending is Combine, above the strips.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from . import keyframes

COMBINE = "COMBINE"
_LAYER = "blendsplat_layer"  # on an action that Add Layer made


def as_strips(owners: Sequence[bpy.types.ID], name: str) -> int:
    """Turn each owner's action into a strip on a track of its own, above the others, named ``name`` -> how many were.

    The strip blends as the action did. Below other strips it goes on with what it showed last; above them it leaves
    what is before and after it to them.
    """
    made = 0
    for owner in owners:
        data = owner.animation_data
        if data is None or data.action is None or not any(True for _ in keyframes.fcurves(owner)):
            continue
        action, slot = data.action, getattr(data, "action_slot", None)
        blending, influence = data.action_blend_type, data.action_influence
        lowest = not len(data.nla_tracks)
        track = data.nla_tracks.new()
        track.name = action.name if action.get(_LAYER) else name
        start = int(action.frame_range[0])
        data.action = None
        strip = track.strips.new(track.name, start, action)
        if slot is not None and strip.action_slot != slot:
            strip.action_slot = slot
        first, last = action.frame_range
        strip.frame_end = max(last, first + 1)  # a strip of one key would be no strip
        strip.blend_type = blending
        strip.extrapolation = "HOLD" if lowest or blending != "REPLACE" else "NOTHING"
        set_influence(strip, influence)
        data.action_blend_type, data.action_influence = "REPLACE", 1.0
        made += 1
    return made


def add_layer(owners: Sequence[bpy.types.ID], performance: str, name: str) -> str:
    """Begin a layer: what plays now becomes strips named ``performance``, and new keyframes are added to it -> the
    layer's name."""
    as_strips(owners, performance)
    name = _free(name)
    for owner in owners:
        data = owner.animation_data or owner.animation_data_create()
        data.action = bpy.data.actions.new(f"{name} {_what(owner)}")
        data.action[_LAYER] = name
        if hasattr(data, "action_slot"):
            data.action_slot = data.action.slots.new(owner.id_type, owner.name)
        data.action_blend_type, data.action_extrapolation, data.action_influence = COMBINE, "HOLD", 1.0
    return name


def layer_of(owner: bpy.types.ID) -> str:
    """The layer that new keyframes of the owner go to; "": none."""
    data = owner.animation_data
    if data is None or data.action is None or data.action_blend_type == "REPLACE":
        return ""
    return str(data.action.get(_LAYER, data.action.name))


def set_influence(strip: bpy.types.NlaStrip, influence: float) -> None:
    """Let a strip count for so much, 0 to 1: Blender takes a number that is not keyed for none."""
    if influence < 1.0:
        strip.use_animated_influence = True
        strip.fcurves.find("influence").keyframe_points.insert(strip.frame_start, influence)


def _free(name: str) -> str:
    """``name``, numbered where a layer is called so already."""
    used = {str(action[_LAYER]) for action in bpy.data.actions if action.get(_LAYER)}
    number, free = 1, name
    while free in used:
        number += 1
        free = f"{name} {number}"
    return free


def _what(owner: bpy.types.ID) -> str:
    return "sliders" if isinstance(owner, bpy.types.Key) else "bones"
