# SPDX-License-Identifier: Apache-2.0
"""The bare form under the features: cranium, face block, jaw and neck as one surface over (angle, height).

``angle`` runs round the head in degrees (0 in front, +90 at the person's left, 180 behind); ``height`` runs down it in
millimetres from the eye line. Down to the jaw, height is what y is on the midline in front; below the chin it goes on
counting while the surface turns under the jaw into the neck.
"""

from __future__ import annotations

import numpy as np

from blendsplat.heads.builtin.curves import Array, fade, table

CHIN = -112.0  # height of the lowest row that still faces forward
NECK_END = -200.0

_front = table(
    (20, 93), (10, 88), (0, 84), (-15, 86), (-30, 90), (-45, 94), (-56, 96.5), (-67, 96), (-76, 94), (-83, 91.5),
    (-90, 92), (-97, 93.5), (-105, 91), (-112, 82), (-116, 67), (-122, 50), (-130, 39), (-145, 32), (-165, 27),
    (-185, 27), (-200, 32),
)  # fmt: skip
_back = table(
    (30, -96.5),
    (18, -96.5),
    (-5, -93),
    (-25, -86),
    (-50, -76),
    (-80, -68),
    (-112, -66),
    (-135, -70),
    (-160, -77),
    (-185, -88),
    (-200, -96),
)
_half_width = table(
    (30, 73.3), (18, 73.3), (0, 71), (-20, 69.6), (-45, 66.5), (-67, 62.5), (-90, 57.5), (-105, 53.5), (-112, 51),
    (-116, 50), (-122, 50.5), (-130, 52), (-150, 56), (-170, 64), (-185, 76), (-200, 93),
)  # fmt: skip
_centre = table(
    (113, -16), (60, -14), (20, -8), (-20, -4), (-60, -4), (-112, -6), (-130, -16), (-165, -25), (-200, -33)
)
_front_exponent = table(
    (113, 2.0),
    (60, 2.15),
    (20, 2.25),
    (0, 2.15),
    (-40, 1.95),
    (-67, 1.85),
    (-95, 1.75),
    (-112, 1.7),
    (-130, 2),
    (-200, 2),
)
_midline_y = table(
    (113, 113), (-105, -105), (-112, -112), (-116, -116), (-122, -119), (-130, -126), (-160, -159), (-200, -200)
)
# The jaw line: rows that are level under the chin climb this far towards the ears.
_jaw_lift = table(
    (113, 0),
    (20, 0),
    (-10, 2),
    (-40, 9),
    (-67, 19),
    (-95, 33),
    (-112, 37),
    (-122, 34),
    (-132, 27),
    (-165, 8),
    (-200, 0),
)

CROWN_FROM = 18.0  # above this height the tables give way to a dome


def half_width(height: Array) -> Array:
    """Half the head's width at a height."""
    dome = 2 + 71.3 * (1 - _dome(height, 2.45)) ** (1 / 2.3)
    return np.where(height > CROWN_FROM, dome, _half_width(np.minimum(height, CROWN_FROM)))


def jaw_lift(angle: Array, height: Array) -> Array:
    """How far a row has climbed at an angle."""
    return _jaw_lift(height) * fade(18, 82, np.abs(angle))


def skull(angle: Array, height: Array) -> Array:
    """Points [...,3] of the bare surface. x is exactly half_width * sin(angle), so columns stay in vertical planes."""
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    sine = np.where(np.abs(angle) == 180, 0.0, sine)
    centre = _centre(height)
    is_front = cosine > 0
    exponent = np.where(is_front, _front_exponent(height), 2.1)
    depth = np.where(is_front, _front_depth(height) - centre, centre - _back_depth(height))
    profile = np.clip(1 - np.abs(sine) ** exponent, 0, 1) ** (1 / exponent)
    y = _midline_y(height) + jaw_lift(angle, height)
    return np.stack([half_width(height) * sine, y, centre + np.sign(cosine) * depth * profile], -1)


def _dome(height: Array, power: float) -> Array:
    return np.clip((height - CROWN_FROM) / 95.2, 0, 1) ** power


def _front_depth(height: Array) -> Array:
    dome = -15 + 109 * np.sqrt(np.clip(1 - ((height - 25) / 88.3) ** 2, 0, 1)) ** 0.95
    blend = fade(12, 45, height)
    return _front(np.minimum(height, 20)) * (1 - blend) + dome * blend


def _back_depth(height: Array) -> Array:
    dome = -15 - 81.5 * (1 - _dome(height, 2.3)) ** (1 / 2.2)
    return np.where(height > CROWN_FROM, dome, _back(np.minimum(height, CROWN_FROM)))
