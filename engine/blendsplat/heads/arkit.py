# SPDX-License-Identifier: Apache-2.0
"""ARKit's 52 expressions by name, and which of a head's are its: as shapes, or as turns of jaw and eyes."""

from __future__ import annotations

from blendsplat.heads.builtin.expressions import ARKIT_JOINTS
from blendsplat.heads.model import JAW_JOINT, HeadModel

_PAIRED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp",
    "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch",
    "mouthUpperUp", "noseSneer",
)  # fmt: skip
_SINGLE = (
    "browInnerUp", "cheekPuff", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel",
    "mouthLeft", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "tongueOut",
)  # fmt: skip
SIDES = ("Left", "Right")
ARKIT = frozenset([*_SINGLE, *(f"{name}{side}" for name in _PAIRED for side in SIDES)])
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
