# SPDX-License-Identifier: Apache-2.0
"""What is behind the lips: the mouth's lining, two arches of teeth with gums, the tongue."""

from __future__ import annotations

import numpy as np

from blendsplat.heads.builtin.curves import Array, bump, fade
from blendsplat.heads.builtin.mesh import MeshBuilder
from blendsplat.heads.builtin.relief import MOUTH_X, MOUTH_Y

UPPER_EDGE, LOWER_EDGE = MOUTH_Y - 3.2, MOUTH_Y + 0.4  # biting edges: the upper teeth bite over the lower ones
ARCH_Z = 60.5
_ARCH = 1.25  # the teeth's arch reaches this angle (radians) to either side
_ARCH_COLUMNS = 31


def add_lining(builder: MeshBuilder, points: Array, upper: np.ndarray, lower: np.ndarray) -> None:
    """The sock behind the lips. upper, lower [C]: the slit's vertices from corner to corner; points [V,3] so far."""
    ring = np.concatenate([upper, lower[1:-1][::-1]])
    lips = points[ring]
    sign = np.concatenate([np.ones(len(upper)), -np.ones(len(ring) - len(upper))])
    sign[[0, len(upper) - 1]] = 0
    arch = np.sqrt(np.clip(1 - (lips[:, 0] / (MOUTH_X + 0.5)) ** 2, 0, 1))
    rows = [ring]
    depths = (0.12, 0.45, 1.0)
    for (inwards, opening, widen), depth in zip(
        ((5.0, 0.4, 1.0), (15.0, 16.0, 1.2), (52.0, 18.0, 1.15)), depths, strict=True
    ):
        row = lips.copy()
        row[:, 0] *= widen
        row[:, 1] += sign * opening * (arch if opening > 1 else 1.0)
        row[:, 2] -= inwards
        rows.append(builder.vertices(row, "mouth", MOUTH_Y + 0.01 * (sign - (sign == 0)), 0.0, depth))
    rows_closed = np.stack([np.concatenate([row, row[:1]]) for row in rows])
    around = np.linspace(0, 1, rows_closed.shape[1])
    down = np.array([0, 0.2, 0.5, 0.9])[:, None]
    right_side = lips[:, 0] + np.roll(lips[:, 0], -1) < 0
    builder.sheet(rows_closed, None, around[None], 1 - down, "mouth", right_side=right_side)
    throat = lips.mean(0) * [0, 1, 1] - [0, 0, 54]
    centre = int(builder.vertices(throat[None], "mouth", MOUTH_Y, 0.0, 1.0)[0])
    backwards = around[::-1]
    middles = np.stack([(backwards[:-1] + backwards[1:]) / 2, np.zeros(len(around) - 1)], -1)
    builder.fan(centre, rows_closed[-1][::-1], middles, backwards, np.full(len(around), 0.1), "mouth")
    builder.named["lip_inner_ring"] = rows[1]


def add_teeth(builder: MeshBuilder, upper: bool) -> None:
    """One arch: gum, crowns bulging a little tooth by tooth, biting edge, and the way back inside."""
    part, up = ("teeth_upper", 1.0) if upper else ("teeth_lower", -1.0)
    t = np.linspace(-_ARCH, _ARCH, _ARCH_COLUMNS)
    narrow = 1.0 if upper else 0.94
    x = 23.0 * narrow * np.sin(t) / np.sin(_ARCH)
    z = ARCH_Z + 27.5 * np.cos(t) - (0.0 if upper else 2.8)
    edge = UPPER_EDGE if upper else LOWER_EDGE
    rise = np.array([13.0, 9.0, 5.0, 1.4, 0.0, 0.6])
    out = np.array([-1.5, 0.0, 0.5, 0.1, -0.8, -5.0])
    tooth = 0.5 + 0.5 * np.cos(2 * np.pi * np.arange(_ARCH_COLUMNS) / 2)  # a crown every second column
    normal = np.stack([np.sin(t), 0 * t, np.cos(t)], -1)
    bulge = 0.35 * (tooth - 0.5) * np.array([0, 0.4, 1, 1, 0.5, 0])[:, None]
    points = np.stack(np.broadcast_arrays(x, edge + up * rise[:, None], z), -1)
    points = points + normal[None] * (out[:, None] + bulge)[..., None]
    grid = builder.vertices(points, part, MOUTH_Y + 5 * up, 0.0, 0.3)
    s = np.linspace(0, 1, _ARCH_COLUMNS)[None]
    down = np.array([0, 0.25, 0.5, 0.72, 0.84, 1.0])[:, None]
    builder.sheet(grid, None, s, 1 - down, part, inside_out=not upper)


def add_tongue(builder: MeshBuilder) -> None:
    """A flattened body with a groove along its middle, lying between the lower teeth."""
    polar = np.linspace(0.18, np.pi - 0.5, 9)
    around = np.linspace(0, 2 * np.pi, 13)
    p, a = np.meshgrid(polar, around[:-1] + np.pi / 2, indexing="ij")
    on_top = np.sin(a) > 0
    x = 15.5 * np.sin(p) ** 0.8 * np.cos(a)
    y = (
        MOUTH_Y
        - 9.5
        + np.sin(p) * np.sin(a) * np.where(on_top, 4.5, 6.0)
        - 1.2 * bump(np.cos(a), 0.25) * on_top * np.sin(p)
    )
    z = 58 + 22 * np.cos(p)
    y = y + 3.5 * fade(62, 40, z)
    grid = builder.vertices(np.stack([x, y, z], -1), "tongue", MOUTH_Y - 5, 0.0, 0.5)
    grid = np.concatenate([grid, grid[:, :1]], 1)
    tip = int(builder.vertices(np.array([[0.0, MOUTH_Y - 9.5, 80.6]]), "tongue", MOUTH_Y - 5, 0.0, 0.5)[0])
    s = np.linspace(0, 1, 13)
    t = np.linspace(0.9, 0, 9)
    builder.sheet(grid, None, s[None], t[:, None], "tongue")
    middles = np.stack([(s[:-1] + s[1:]) / 2, np.ones(12)], -1)
    builder.fan(tip, grid[0], middles, s, np.full(13, 0.9), "tongue")
