# SPDX-License-Identifier: GPL-3.0-or-later
"""Performances as strips of the NLA, and layers of hand-made corrections that Blender adds to them.

All of it is Blender's own: tracks and strips can be moved, trimmed, blended and muted in the NLA Editor, and play
without this add-on. A layer is an action whose blending is Combine, above the strips.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from . import keyframes
from .strips import push_down

COMBINE = "COMBINE"
_LAYER = "blendsplat_layer"  # on an action that Add Layer made


def as_strips(owners: Sequence[bpy.types.ID], name: str) -> int:
    """Turn each owner's action into a strip on a track of its own, above the others, named ``name`` (a layer's: as the
    layer) -> how many were."""
    made = 0
    for owner in owners:
        data = owner.animation_data
        if data is None or data.action is None or not any(True for _ in keyframes.fcurves(owner)):
            continue
        push_down(data, data.action.name if data.action.get(_LAYER) else name)
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
