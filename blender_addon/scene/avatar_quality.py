# SPDX-License-Identifier: GPL-3.0-or-later
"""How good an avatar is, in figures and words: how near its renders come to frames that training never saw, there where
people look, and whether it is whole where no camera stood.

The figure is the PSNR in decibels. While a training runs there is only the one of the frames it learns from, which is
higher and says less, so it is told as a word alone.
"""

from __future__ import annotations

from collections.abc import Mapping

_WORDS = ((20.0, "a sketch"), (25.0, "soft"), (29.0, "good"), (33.0, "sharp"), (float("inf"), "very sharp"))
_HOLES = ((0.02, "whole"), (0.08, "small holes"), (0.2, "holes"), (float("inf"), "large holes"))
TREMBLES = 1.1  # times the video's own tremble from which on the avatar's is seen
EXPLAINED = (
    "How near the avatar's renders come to frames of the clip that training did not see: below 20 dB a sketch, to 25 "
    "soft, to 29 good, to 33 sharp, above very sharp; 6 dB more mean half the difference. Views and expressions that "
    "the clip does not show are not in it"
)


def word(decibels: float) -> str:
    """What a PSNR looks like."""
    return next(name for limit, name in _WORDS if decibels < limit)


def line(figures: Mapping[str, object]) -> str:
    """ "Sharp (31.2 dB)" from what a finished training measured, or "" where it held no frames out."""
    value = figures.get("psnr")
    if not isinstance(value, (int, float)):
        return ""
    name = word(float(value))
    return f"{name[0].upper()}{name[1:]} ({value:.1f} dB)"


def parts(measured: Mapping[str, object]) -> list[str]:
    """Sentences on what the job "evaluate" measured: mouth and eyes, the sides, how steady it is. [] where nothing."""
    found = []
    faces = [
        f"{name} {word(float(value))} ({value:.1f} dB)"
        for name, key in (("mouth", "mouth_psnr"), ("eyes", "eyes_psnr"))
        if isinstance(value := measured.get(key), (int, float))
    ]
    if faces:
        found.append(_sentence(", ".join(faces)))
    sides = measured.get("sides")
    if isinstance(sides, dict):
        told = [
            f"their {name} {_holes(float(holes))} ({holes:.0%})"
            for name in ("left", "right")
            if isinstance(holes := _figure(sides.get(f"from_{name}"), "holes"), (int, float))
        ]
        if told:
            found.append(_sentence("seen from 45 degrees: " + ", ".join(told)))
    tremble = _figure(measured.get("steadiness"), "tremble")
    if isinstance(tremble, (int, float)):
        found.append(
            "It trembles more than the video where the head is still: smooth the tracking, or train on more frames"
            if tremble > TREMBLES
            else "It is as steady as the video"
        )
    return found


def _figure(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def _holes(share: float) -> str:
    """What a share of the head's silhouette without a surface looks like."""
    return next(name for limit, name in _HOLES if share < limit)


def so_far(figures: Mapping[str, object]) -> str:
    """How a running training does on the frames it learns from, or ""."""
    value = figures.get("psnr")
    return f"The frames it learns from: {word(float(value))} so far" if isinstance(value, (int, float)) else ""
