# SPDX-License-Identifier: GPL-3.0-or-later
"""Left and right: which slider or bone is whose counterpart, and what a turn looks like in a mirror.

A head's bones have the head model's axes (X to the person's left, Y up, Z out of the face), so the mirror is X -> -X.
"""

from __future__ import annotations

from collections.abc import Iterable

_SIDES = (("Left", "Right"), (".L", ".R"), (" L", " R"), ("_L", "_R"))
# What the mirror does with each number of a bone, by the channel's name: the signs of its entries.
SIGNS = {
    "location": (-1, 1, 1),
    "rotation_euler": (1, -1, -1),
    "rotation_quaternion": (1, 1, -1, -1),
    "rotation_axis_angle": (1, 1, -1, -1),
    "scale": (1, 1, 1),
}


def counterpart(name: str) -> str:
    """The same on the other side of the face; a name without a side is its own."""
    for one, other in _SIDES:
        for here, there in ((one, other), (other, one)):
            if name.endswith(here):
                return name.removesuffix(here) + there
    return name


def have_sides(names: Iterable[str]) -> bool:
    """Whether there is any pair among the names: sliders that are only numbered (FLAME's) tell nothing of sides."""
    known = set(names)
    return any(counterpart(name) != name and counterpart(name) in known for name in known)


def mirrored_turn(turn: tuple[float, float, float]) -> tuple[float, float, float]:
    """A rotation vector, or Euler angles of any order, seen in the mirror."""
    x, y, z = turn
    return x, -y, -z
