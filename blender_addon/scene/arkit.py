# SPDX-License-Identifier: GPL-3.0-or-later
"""ARKit's 52 expressions as an artist looks for them: in groups, by the names that face capture programs send.

The engine's ``heads/arkit.py`` holds the same table; ``tests/heads/test_arkit.py`` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable

SIDES = ("Left", "Right")
_BY_GROUP = {  # names that end in * have two sides
    "brows": ("browInnerUp", "browOuterUp*", "browDown*"),
    "eyes": (
        "eyeBlink*", "eyeSquint*", "eyeWide*", "eyeLookUp*", "eyeLookDown*", "eyeLookIn*", "eyeLookOut*",
    ),
    "cheeks": ("cheekPuff", "cheekSquint*"),
    "nose": ("noseSneer*",),
    "mouth": (
        "mouthSmile*", "mouthFrown*", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight",
        "mouthUpperUp*", "mouthLowerDown*", "mouthStretch*", "mouthDimple*", "mouthPress*", "mouthRollUpper",
        "mouthRollLower", "mouthShrugUpper", "mouthShrugLower",
    ),
    "jaw": ("jawOpen", "jawForward", "jawLeft", "jawRight"),
    "tongue": ("tongueOut",),
}  # fmt: skip
GROUPS = {
    group: tuple(name.removesuffix("*") + side for name in names for side in (SIDES if name.endswith("*") else ("",)))
    for group, names in _BY_GROUP.items()
}
NAMES = tuple(name for names in GROUPS.values() for name in names)
# What bones do, as no shape key does it: name -> (bone, radians about the bone's X, Y and Z at a slider of 1)
TURNS = {
    "jawOpen": ("jaw", (0.372, 0.0, 0.0)),
    "eyeLookUpLeft": ("eye.L", (-0.45, 0.0, 0.0)),
    "eyeLookUpRight": ("eye.R", (-0.45, 0.0, 0.0)),
    "eyeLookDownLeft": ("eye.L", (0.5, 0.0, 0.0)),
    "eyeLookDownRight": ("eye.R", (0.5, 0.0, 0.0)),
    "eyeLookInLeft": ("eye.L", (0.0, -0.55, 0.0)),
    "eyeLookInRight": ("eye.R", (0.0, 0.55, 0.0)),
    "eyeLookOutLeft": ("eye.L", (0.0, 0.55, 0.0)),
    "eyeLookOutRight": ("eye.R", (0.0, -0.55, 0.0)),
}
_ENOUGH = 30  # of the 52: from here on a head's sliders are ARKit's


def bone_sliders(expressions: Iterable[str]) -> tuple[str, ...]:
    """The sliders by which a head with these expressions gets all of ARKit's names: those of TURNS that it lacks; none
    for a head whose expressions are not ARKit's."""
    known = set(expressions)
    return tuple(name for name in TURNS if name not in known) if len(known & set(NAMES)) >= _ENOUGH else ()


def in_groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by group, each in ARKit's order here, groups without a name left out; under "" what ARKit does not have,
    in the order given."""
    given = list(names)
    grouped = {group: [name for name in members if name in given] for group, members in GROUPS.items()}
    grouped[""] = [name for name in given if name not in NAMES]
    return {group: members for group, members in grouped.items() if members}
