# SPDX-License-Identifier: Apache-2.0
"""The face's relief: brow, sockets, cheekbones, nose, philtrum, lips, chin, as depth (mm, forwards) added to the skull.

Every feature is a function of (x, y) in front view, so it can be read off a drawing; x is mirrored everywhere.
"""

from __future__ import annotations

import numpy as np

from blendsplat.heads.builtin.curves import Array, band, bump, fade, soft_maximum, spot, table

MOUTH_Y = -67.0
MOUTH_X = 25.0  # corner of the mouth
NOSE_TIP_Y = -35.5

_ridge_height = table(
    (24, 0), (14, 3), (6, 6.5), (0, 9.5), (-8, 13.5), (-16, 17), (-26, 20.8), (-33, 23), (-37.5, 22), (-41.5, 16),
    (-44.5, 8), (-47.5, 1.5), (-52, 0), (-60, 0),
)  # fmt: skip
_ridge_width = table((24, 10), (6, 7.4), (-8, 7.4), (-18, 8.2), (-28, 9.6), (-35, 10), (-42, 8), (-50, 7))


def relief(x: Array, y: Array) -> Array:
    """Depth of all features of the face at (x, y)."""
    ax = np.abs(x)
    return _brow_and_sockets(ax, y) + _cheeks(ax, y) + _nose(ax, y) + _lips(ax, y) + _chin(ax, y)


def upper_lip_height(x: Array) -> Array:
    """Height of the upper vermilion border above the mouth line: the Cupid's bow."""
    arch = np.clip(1 - (x / MOUTH_X) ** 2, 0, 1)
    return 7.6 * arch**0.8 - 1.4 * bump(x, 3.2) + 0.7 * bump(np.abs(x) - 6, 3.2)


def lower_lip_height(x: Array) -> Array:
    """Depth of the lower vermilion border below the mouth line."""
    return 9.4 * np.clip(1 - (x / (MOUTH_X - 1)) ** 2, 0, 1) ** 0.75


def _brow_and_sockets(ax: Array, y: Array) -> Array:
    sockets = 7.5 * bump(ax - 30, 20, 4) * bump(y - 4, np.where(y > 4, 12.0, 14.0))
    corners = 4.5 * spot(ax, y, (15, 2), (6.5, 9))
    ridge = 3.6 * bump(ax - 27, 20, 4) * bump(y - 19 - 2.5 * np.sin((ax - 10) / 14), 6.5)
    glabella = 1.2 * spot(ax, y, (0, 20), (8, 9))
    temples = 2.5 * spot(ax, y, (66, 26), (12, 20))
    return ridge - sockets - corners - glabella - temples


def _cheeks(ax: Array, y: Array) -> Array:
    bones = 5.0 * spot(ax, y, (46, -23), (15, 12)) + 1.8 * spot(ax, y, (29, -27), (11, 11))
    tear_trough = 1.2 * bump(y + 13 + 0.28 * (ax - 18), 4.0) * band(16, 34, 6, ax)
    # The nasolabial fold runs from the wing of the nose past the corner of the mouth; it has a lip on its outer side.
    across = ax - (15.5 + 0.40 * (-38 - y))
    along = fade(-74, -56, y) * fade(-30, -40, y)
    fold = along * (1.3 * bump(across - 6.5, 6.5) - 1.9 * bump(across, 3.6))
    hollow = 3.2 * spot(ax, y, (45, -61), (13, 18))
    return bones + fold - hollow - tear_trough


def _nose(ax: Array, y: Array) -> Array:
    inside = np.clip(y, -60, 24)
    ridge = _ridge_height(inside) * bump(ax, _ridge_width(inside) * 1.25, 2.3) * (y < 24)
    tip = 22.8 * np.exp(-(((ax / 11.4) ** 2 + ((y - NOSE_TIP_Y) / 8.6) ** 2) ** 1.7))
    wings = 11.5 * np.exp(-((((ax - 11.4) / 6.8) ** 2 + ((y + 38.6) / 7.4) ** 2) ** 1.8))
    columella = 14.5 * bump(ax, 4.0) * bump(y + 42, 4.0, 4)
    nose = soft_maximum(ridge, tip, wings, columella, sharpness=0.9) - np.log(4) / 0.9
    wing_crease = 1.1 * spot(ax, y, (9.6, -31.5), (2.6, 3.6)) + 0.9 * spot(ax, y, (19.5, -40), (2.4, 6.5))
    nostrils = 2.2 * spot(ax, y, (6.6, -43.6), (3.0, 2.0))
    return nose - wing_crease - nostrils


def _lips(ax: Array, y: Array) -> Array:
    taper = np.clip(1 - (ax / (MOUTH_X + 3)) ** 2, 0, 1)
    up = (y - MOUTH_Y) / np.maximum(upper_lip_height(ax), 2.0)
    down = (MOUTH_Y - y) / np.maximum(lower_lip_height(ax), 2.0)
    upper = (4.6 * bump(up - 0.58, 0.52) + 0.8 * spot(ax, y, (0, -63.5), (4.5, 3.0))) * (y >= MOUTH_Y)
    lower = 5.2 * bump(down - 0.52, 0.50) * (y < MOUTH_Y)
    seam = 2.4 * bump(y - MOUTH_Y, 1.6)
    border = 0.6 * (bump(up - 1.12, 0.16) * (y >= MOUTH_Y))
    philtrum = band(-57, -50, 4, y) * (0.8 * bump(ax - 5.2, 2.0) - 1.4 * bump(ax, 2.6))
    corner = 2.4 * spot(ax, y, (27.5, MOUTH_Y), (4.2, 5.0))
    return taper * (upper + lower - seam + border) + philtrum - corner


def _chin(ax: Array, y: Array) -> Array:
    groove = 3.4 * bump(ax, 17) * bump(y + 84, 4.6)
    ball = 3.0 * spot(ax, y, (0, -98), (15, 9)) + 1.2 * spot(ax, y, (17, -97), (9, 10))
    return ball - groove
