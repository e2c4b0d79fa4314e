# SPDX-License-Identifier: Apache-2.0
"""The inside of the mouth: lining, teeth with gums, tongue."""

from __future__ import annotations

import numpy as np

from blendsplat.heads.human.anatomy import anatomy
from blendsplat.heads.human.canvas import Canvas, bump, fade

# where along v (from the gum's end to the tongue's side) the rows of an arch lie
GUM_LINE, EDGE, BACK = 0.22, 0.76, 0.97


def paint_mouth(p: Canvas) -> None:
    """Everything behind the lips."""
    for name, paint in (
        ("mouth", _lining), ("teeth_upper", _teeth), ("teeth_lower", _teeth), ("tongue", _tongue),
    ):  # fmt: skip
        rows = p.at.keep(("rows", name), lambda t, name=name: np.flatnonzero(t.of(name)))
        part = p.part(rows, name)
        paint(part, name)
        p.merge(rows, part)


def _lining(p: Canvas, name: str) -> None:
    at = p.at
    mottled = p.noise.solid(at, 4)[0]
    p.colour[:] = np.array((0.60, 0.29, 0.28), np.float32) * (0.85 + 0.3 * mottled)[:, None]
    depth = fade(78, 20, at.z)
    p.times(depth, (0.36, 0.18, 0.17))
    p.times(0.8 * fade(45, -5, at.z), (0.40, 0.30, 0.30))


def _teeth(p: Canvas, name: str) -> None:
    at, look = p.at, p.look
    borders = anatomy().crowns[name].astype(np.float32)
    u = at.uv[:, 0]
    number = np.clip(np.searchsorted(borders, u) - 1, 0, len(borders) - 2)
    width = borders[number + 1] - borders[number]
    share = (u - borders[number]) / width  # 0..1 over a crown
    side = np.minimum(share, 1 - share)
    gum_end, tongue_side = anatomy().teeth_rows[name]
    down = (at.uv[:, 1] - np.float32(gum_end)) / np.float32(tongue_side - gum_end)
    order = np.abs(number - 6.5)  # 0.5 for the middle ones
    yellow = 0.25 + 0.5 * look.age
    enamel = np.array((0.89, 0.865, 0.80), np.float32) - yellow * np.array((0.03, 0.06, 0.13), np.float32)
    own = 1 - 0.03 * (np.sin(number * 12.9 + look.seed % 97) * 0.5 + 0.5) - 0.05 * (np.abs(order - 2.5) < 0.6)
    p.colour[:] = enamel * own[:, None].astype(np.float32)
    p.times(0.55 * fade(0.50, 0.24, down), (0.96, 0.88, 0.74))  # warmer towards the gum
    p.times(0.45 * fade(0.66, 0.78, down) * fade(5, 2, order), (0.93, 0.95, 0.98))  # glassy at the edge
    lines = p.noise.plane(u * 900, down * 6, 7)
    p.colour *= (0.97 + 0.05 * lines)[:, None]
    p.times(0.55 * fade(0.20, 0.02, side), (0.80, 0.70, 0.60))
    p.times(0.85 * fade(0.060, 0.015, side), (0.34, 0.22, 0.18))
    p.times(0.6 * fade(0.80, 0.92, down), (0.72, 0.62, 0.55))
    p.times(0.7 * fade(3.0, 6.5, order), (0.62, 0.52, 0.48))  # dark towards the cheeks
    papilla = 0.085 * np.cos(np.pi * 2 * share) + 0.012 * (p.noise.plane(u * 300, down * 0, 9) - 0.5)
    gum = np.maximum(fade(0.02, -0.012, down - GUM_LINE - papilla + 0.015), fade(BACK - 0.03, BACK, down))
    pink = np.array((0.74, 0.42, 0.41), np.float32) * (0.9 + 0.2 * p.noise.plane(u * 260, down * 9, 11))[:, None]
    p.times(0.5 * bump(down - GUM_LINE - papilla - 0.01, 0.03), (0.78, 0.62, 0.55))
    p.over(gum, pink * np.float32(1 - 0.25 * np.clip((0.8 - np.mean(look.skin)) / 0.6, 0, 1)))
    p.times(gum * fade(0.16, 0.02, down), (0.72, 0.55, 0.55))


def _tongue(p: Canvas, name: str) -> None:
    at = p.at
    p.colour[:] = np.array((0.80, 0.48, 0.46), np.float32)
    bumps = p.noise.solid(at, 1.1)[0]
    cloud = p.noise.solid(at, 6)[1]
    p.colour *= (0.86 + 0.20 * bumps + 0.10 * cloud)[:, None]
    top = fade(0.1, 0.7, at.normal[:, 1])
    p.over(0.30 * top * fade(22, 45, at.z) * fade(78, 60, at.z) * (0.5 + bumps), (0.80, 0.62, 0.58))
    p.times(0.45 * top * bump(at.x, 1.1) * fade(20, 40, at.z), (0.66, 0.50, 0.50))
    p.times(0.7 * fade(0.2, -0.5, at.normal[:, 1]), (0.72, 0.50, 0.50))
    p.times(fade(48, 10, at.z), (0.40, 0.28, 0.28))
