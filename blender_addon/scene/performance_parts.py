# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a performance is played: all of it, the face alone, or the head's movement alone."""

from __future__ import annotations

from .keyframes import Curve

BOTH, FACE, HEAD = "BOTH", "FACE", "HEAD"
HELD_BY = ("root", "neck")  # bones that hold the head; jaw and eyes belong to the face
MOVES = {  # part -> what of the head's state it is
    FACE: ("expression", "jaw", "eyes", "eyelids"),
    HEAD: ("root", "neck", "translation"),
}


def chosen(expressions: list[Curve], pose: list[Curve], part: str) -> tuple[list[Curve], list[Curve]]:
    """The curves of a head's shape keys and bones that a part of a performance keys."""
    if part == BOTH:
        return expressions, pose
    holds = [curve for curve in pose if curve.group in HELD_BY]
    return ([], holds) if part == HEAD else (expressions, [curve for curve in pose if curve not in holds])
