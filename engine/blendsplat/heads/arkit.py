# SPDX-License-Identifier: Apache-2.0
"""ARKit's 52 expressions: their names in the order and groups in which an artist looks for them, and which of a head's
are its: as shapes, or as turns of jaw and eyes. The add-on's ``scene/arkit.py`` holds the same table.
"""

from __future__ import annotations

from blendsplat.heads.model import JAW_JOINT, HeadModel

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
GROUPS: dict[str, tuple[str, ...]] = {
    group: tuple(name.removesuffix("*") + side for name in names for side in (SIDES if name.endswith("*") else ("",)))
    for group, names in _BY_GROUP.items()
}
ARKIT = tuple(name for names in GROUPS.values() for name in names)
JAW_OPEN_ANGLE = 0.372  # radians about x at jawOpen = 1, as the file of the head human says too
# name -> (joint, rotation vector at a coefficient of 1), for heads that turn jaw and eyes by joints
ARKIT_JOINTS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "jawOpen": ("jaw", (JAW_OPEN_ANGLE, 0.0, 0.0)),
    "eyeLookUpLeft": ("left_eye", (-0.45, 0.0, 0.0)),
    "eyeLookUpRight": ("right_eye", (-0.45, 0.0, 0.0)),
    "eyeLookDownLeft": ("left_eye", (0.5, 0.0, 0.0)),
    "eyeLookDownRight": ("right_eye", (0.5, 0.0, 0.0)),
    "eyeLookInLeft": ("left_eye", (0.0, -0.55, 0.0)),
    "eyeLookInRight": ("right_eye", (0.0, 0.55, 0.0)),
    "eyeLookOutLeft": ("left_eye", (0.0, 0.55, 0.0)),
    "eyeLookOutRight": ("right_eye", (0.0, -0.55, 0.0)),
}
EYE_LOOKS = tuple(name for name in ARKIT_JOINTS if name.startswith("eyeLook"))
_ENOUGH = 30  # of the 52: from here on a head's shapes are ARKit's


def is_arkit(head: HeadModel) -> bool:
    """Whether the head's expressions are ARKit's by their names, up to a few (both sides in one, one in two)."""
    return sum(counterparts(name, head.expression_names) != () for name in ARKIT) >= _ENOUGH


def counterparts(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """What is called ``name`` among ``names``: itself, its two sides (browInnerUp: browInnerUpLeft and -Right), or the
    whole that it is a side of; () for none."""
    if name in names:
        return (name,)
    sides = tuple(f"{name}{side}" for side in SIDES)
    if all(side in names for side in sides):
        return sides
    for side in SIDES:
        whole = name.removesuffix(side)
        if whole != name and whole in names:
            return (whole,)
    return ()


def joint_rotations(head: HeadModel) -> dict[str, tuple[str, tuple[float, float, float]]]:
    """ARKit's expressions that are turns on this head: name -> (joint, rotation vector at a coefficient of 1). The
    eyes of every head turn by joints; jawOpen is one only where the jaw moves by its joint and no shape opens it."""
    opens = "jawOpen" not in head.expression_names and has_jaw(head)
    return {name: turn for name, turn in ARKIT_JOINTS.items() if turn[0] != "jaw" or opens}


def has_jaw(head: HeadModel) -> bool:
    """Whether the head's jaw moves by its joint."""
    return float(head.skin_weights[:, JAW_JOINT].max()) > 0
