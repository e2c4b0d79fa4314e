# SPDX-License-Identifier: Apache-2.0
"""The eyeballs: sclera with veins, limbus, iris of fibres, pupil."""

from __future__ import annotations

import numpy as np

from blendsplat.heads.human.anatomy import anatomy
from blendsplat.heads.human.canvas import Array, Canvas, fade

IRIS_RADIUS = 5.9  # mm, people's


def paint_eyes(p: Canvas) -> None:
    """Both eyeballs, as they look straight ahead."""
    for rim, name in zip(anatomy().rims, ("left_eyeball", "right_eyeball"), strict=True):
        rows = p.at.keep(("rows", name), lambda t, name=name: np.flatnonzero(t.of(name)))
        eye = p.part(rows, name)
        _eyeball(eye, rim.centre, rim.side)
        p.merge(rows, eye)


def _eyeball(p: Canvas, centre: np.ndarray, side: int) -> None:
    at, look = p.at, p.look
    dx, dy = at.x - np.float32(centre[0]), at.y - np.float32(centre[1])
    inwards = -dx * side  # > 0 towards the nose
    r, turn = np.hypot(dx, dy), np.arctan2(dy, dx)
    ahead = (at.z > centre[2]).astype(np.float32)
    away = np.where(ahead > 0, r, 32 - r)  # grows over the back of the ball

    def around(circle: float, outwards: float, shift: float) -> Array:
        """Noise on a circle of so many cells' radius, which closes without a seam and changes slowly outwards."""
        return p.noise.plane(circle * np.cos(turn) + outwards * r, circle * np.sin(turn), shift)

    tired = 0.4 + 0.6 * look.age

    white = np.array((0.79, 0.76, 0.735), np.float32) - look.age * np.array((0.03, 0.045, 0.075), np.float32)
    p.colour[:] = white
    cloud = p.noise.plane(dx / 3.5, dy / 3.5, 5)
    p.colour *= (0.955 + 0.09 * cloud)[:, None]
    p.times(0.55 * fade(7.5, 14, away), (0.90, 0.76, 0.73))
    p.over(0.75 * fade(9.0, 13.0, inwards), (0.78, 0.47, 0.44))
    # veins creep from the corners towards the iris and thin out
    bend = 1.6 * p.noise.plane(dx / 2.2, dy / 2.2, 15)
    thread = np.abs(p.noise.plane(dx / 5.5 + 40 * (side > 0), (dy + bend) / 1.15, 25) - 0.5)
    small = np.abs(p.noise.plane(dx / 3.0, (dy - bend) / 0.8, 35) - 0.5)
    veins = np.maximum(fade(0.055, 0.012, thread), 0.6 * fade(0.05, 0.01, small)) * fade(6.6, 11.5, np.abs(dx))
    p.times(0.38 * tired * veins, (0.88, 0.50, 0.46))
    # the lids' shade, most of it from above
    p.times(0.55 * fade(0.5, 7.0, dy + 0.02 * r * r), (0.60, 0.54, 0.53))
    p.times(0.25 * fade(-3.5, -7.5, dy), (0.75, 0.66, 0.64))
    p.times(0.45 * fade(8.5, 13.0, np.abs(dx)), (0.72, 0.62, 0.60))

    wave = 0.10 * (around(3, 0, 45) - 0.5)
    rim = r + wave
    base = np.array(look.eyes, np.float32)
    p.times(0.6 * ahead * fade(IRIS_RADIUS + 1.2, IRIS_RADIUS - 0.2, rim), (0.68, 0.68, 0.72))  # the limbus's haze
    iris = ahead * fade(IRIS_RADIUS + 0.25, IRIS_RADIUS - 0.45, rim)
    fibres = 0.55 * around(9, 0.3, 55) + 0.45 * around(18, 0.45, 65)
    crypts = fade(0.60, 0.80, around(3, 0.7, 75))
    zone = 2.9 + 0.5 * (around(2, 0, 85) - 0.5)
    light = 0.50 + 0.95 * fibres
    colour = base * light[:, None]
    warm = base * np.array((1.35, 1.12, 0.80), np.float32) + np.array((0.05, 0.03, 0.0), np.float32)
    ring = fade(zone + 0.8, zone - 0.3, r)[:, None] * np.float32(0.55)
    colour = colour * (1 - ring) + warm * (0.55 + 0.75 * fibres)[:, None] * ring
    p.over(iris, colour)
    p.times(iris * 0.5 * crypts * fade(2.4, 3.4, r) * fade(5.4, 4.4, r), (0.62, 0.58, 0.58))
    p.times(iris * 0.92 * fade(IRIS_RADIUS - 1.7, IRIS_RADIUS - 0.1, rim), (0.30, 0.29, 0.31))
    p.times(iris * 0.75 * fade(-0.5, 4.6, dy), (0.42, 0.42, 0.43))
    p.times(iris * 0.55 * fade(0.0, -4.5, dy) * fade(5.6, 4.4, r), (1.45, 1.42, 1.38))  # light through the cornea
    pupil = 1.75 + 0.35 * (0.3 - float(np.mean(look.eyes)))
    p.over(ahead * fade(pupil + 0.35, pupil - 0.10, r + 0.5 * wave), (0.012, 0.010, 0.010))
