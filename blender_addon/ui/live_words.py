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


def statistics(seen: float, figures: Mapping[str, float]) -> list[str]:
    """What a session has done so far, one line a thing; what is not known yet is left out."""
    said = [f"{seen:.0f} frames seen, {_of(figures, 'dropped'):.0f} dropped"]
    if _of(figures, "tracked"):
        said.append(f"{_of(figures, 'tracked'):.0f} tracked, {_of(figures, 'fps'):.1f} a second")
    if _of(figures, "images"):
        said.append(f"Remembers {_of(figures, 'local'):.0f} new frames, {_of(figures, 'long_term'):.0f} of all")
        said.append(f"{_of(figures, 'images'):.0f} images trained, {_of(figures, 'rate'):.0f} a second")
    if "new_psnr" in figures:
        value = figures["new_psnr"]
        said.append(f"The newest frame, before it is learned: {avatar_quality.word(value)} ({value:.1f} dB)")
    return said


def situation(message: str) -> tuple[str, bool]:
    """(what goes on, or "" where all is well; whether the artist should do something about it)."""
    if message in _WARNINGS:
        return _WARNINGS[message], True
    return (_CALM[message], False) if message in _CALM else (message, bool(message))


def _of(figures: Mapping[str, float], name: str) -> float:
    return figures.get(name, 0.0)
