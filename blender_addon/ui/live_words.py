# SPDX-License-Identifier: GPL-3.0-or-later
"""A live session's statistics and what it has to say, in an artist's words."""

from __future__ import annotations

from collections.abc import Mapping

from ..scene import avatar_quality

_CALM = {
    "live": "", "paused": "Paused: nothing is recorded", "looking for a face": "Looking for a face...",
    "learning the person's shape and the lens": "Learning the shape of the face and the lens...",
}  # fmt: skip
_WARNINGS = {"no face in the picture": "No face in the picture: look into the camera."}


NEW_FRAMES = (
    "How near the avatar comes to each new frame before it learns from it: what the person does next, it has not seen. "
    "Below 20 dB a sketch, to 25 soft, to 29 good, to 33 sharp"
)


def statistics(seen: float, figures: Mapping[str, float]) -> list[tuple[str, str]]:
    """(name, what there is to say) of what a session has done so far; what has not begun is left out."""
    said = [("Frames", f"{seen:.0f}, {_of(figures, 'dropped'):.0f} dropped")]
    if _of(figures, "tracked"):
        said.append(("Tracked", f"{_of(figures, 'tracked'):.0f}, {_of(figures, 'fps'):.1f} a second"))
    if _of(figures, "images"):
        said.append(("Memory", f"{_of(figures, 'local'):.0f} recent, {_of(figures, 'long_term'):.0f} earlier"))
        said.append(("Trained", f"{_of(figures, 'images'):.0f}, {_of(figures, 'rate'):.0f} a second"))
    return said


def quality(figures: Mapping[str, float]) -> str:
    """How near the avatar comes to new frames: "Good (27.2 dB)", "" before it is known."""
    return avatar_quality.line({"psnr": figures["new_psnr"]}) if "new_psnr" in figures else ""


def situation(message: str) -> tuple[str, bool]:
    """(what goes on, or "" where all is well; whether the artist should do something about it)."""
    if message in _WARNINGS:
        return _WARNINGS[message], True
    return (_CALM[message], False) if message in _CALM else (message, bool(message))


def _of(figures: Mapping[str, float], name: str) -> float:
    return figures.get(name, 0.0)
