# SPDX-License-Identifier: GPL-3.0-or-later
"""An action that is played becomes a strip of the NLA, as Blender's own Push Down does, but without an editor."""

from __future__ import annotations

import bpy


def push_down(data: bpy.types.AnimData, name: str) -> bpy.types.NlaStrip:
    """Turn the action of ``data``, which it has to have, into a strip on a new track, ``name``, above the others.

    The strip blends and counts as the action did. Below other strips it goes on with what it showed last, and so does
    one that is added to them; one that replaces what is below leaves what is before and after it to that.
    """
    action, slot = data.action, getattr(data, "action_slot", None)
    blending, influence, lowest = data.action_blend_type, data.action_influence, not len(data.nla_tracks)
    track = data.nla_tracks.new()
    track.name = name
    first, last = action.frame_range
    data.action = None
    strip = track.strips.new(name, int(first), action)
    if slot is not None and strip.action_slot != slot:
        strip.action_slot = slot
    strip.frame_end = max(last, first + 1)  # a strip of one key would be no strip
    strip.blend_type = blending
    strip.extrapolation = "HOLD" if lowest or blending != "REPLACE" else "NOTHING"
    if influence < 1.0:  # Blender takes a number that is not keyed for none
        strip.use_animated_influence = True
        strip.fcurves.find("influence").keyframe_points.insert(strip.frame_start, influence)
    data.action_blend_type, data.action_influence = "REPLACE", 1.0
    return strip
