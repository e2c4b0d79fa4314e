# SPDX-License-Identifier: GPL-3.0-or-later
"""How good an avatar is, as one figure and a word: how near its renders come to frames that training never saw.

The figure is the PSNR in decibels. While a training runs there is only the one of the frames it learns from, which is
higher and says less, so it is told as a word alone.
"""

from __future__ import annotations

from collections.abc import Mapping

_WORDS = ((20.0, "a sketch"), (25.0, "soft"), (29.0, "good"), (33.0, "sharp"), (float("inf"), "very sharp"))
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


def so_far(figures: Mapping[str, object]) -> str:
    """How a running training does on the frames it learns from, or ""."""
    value = figures.get("psnr")
    return f"The frames it learns from: {word(float(value))} so far" if isinstance(value, (int, float)) else ""
