# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole performance seen in a mirror: curves of the left become the right's, turns change their signs.

Nothing is computed from frames: the keys stay where they are, with their handles, and mirroring again gives back what
was there. The root is mirrored about where it is on average, so that the head stays in its place before the camera.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import bpy
import numpy as np

from . import keyframes
from .sides import SIGNS, counterpart

_PLACES = re.compile(r'^(key_blocks|pose\.bones)\["((?:[^"\\]|\\.)*)"\]\.(\w+)$')
_ROOT = "root"


def mirror(owner: bpy.types.ID, has: Callable[[str], bool]) -> int:
    """Mirror the curves of the owner's action -> how many of them changed. has(name): whether the head has that slider
    or bone; a curve whose counterpart it lacks stays on its side. Locked curves stay, and so do those they would change
    places with."""
    curves = [(curve, place) for curve in keyframes.fcurves(owner) if (place := _PLACES.match(curve.data_path))]
    locked = {_name(place) for curve, place in curves if curve.lock}
    changed = 0
    for curve, place in curves:
        name = _name(place)
        other = counterpart(name)
        if name in locked or other in locked:
            continue
        if other != name and has(other):
            kind, _, channel = place.groups()
            curve.data_path = f'{kind}["{bpy.utils.escape_identifier(other)}"].{channel}'
            changed += 1
        if place.group(1) == "pose.bones":
            changed += _turn_over(curve, place.group(3), other == _ROOT) and other == name
    _regroup(curves)
    return changed


def _name(place: re.Match[str]) -> str:
    return bpy.utils.unescape_identifier(place.group(2))


def _turn_over(curve: Any, channel: str, root: bool) -> bool:
    """Change the sign of a bone's curve where the mirror does -> whether it does."""
    signs = SIGNS.get(channel, ())
    if curve.array_index >= len(signs) or signs[curve.array_index] > 0:
        return False
    middle = float(keyframes.points(curve)[:, 1].astype(float).mean()) if root and len(curve.keyframe_points) else 0.0
    for what in ("co", "handle_left", "handle_right"):
        flat = np.empty(2 * len(curve.keyframe_points), np.float32)
        curve.keyframe_points.foreach_get(what, flat)
        flat[1::2] = 2 * middle - flat[1::2]
        curve.keyframe_points.foreach_set(what, flat)
    curve.update()
    return True


def _regroup(curves: list[tuple[Any, re.Match[str]]]) -> None:
    """Groups that are called as a bone whose curves changed sides are called as the other bone. They keep their curves:
    a group that is empty for a moment is gone."""
    moved = {_name(place) for curve, place in curves if curve.data_path != place.string}
    groups = {curve.group.name: curve.group for curve, _ in curves if curve.group is not None}
    renamed = [(group, counterpart(name)) for name, group in groups.items() if name in moved]
    for number, (group, _) in enumerate(renamed):
        group.name = f"mirrored {number}"
    for group, name in renamed:
        group.name = name
