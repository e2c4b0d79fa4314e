# SPDX-License-Identifier: Apache-2.0
"""Glasses: thin frames before the eyes, with arms that lie over the ears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blendsplat.heads.render import Props
from blendsplat.synthetic.attached import Attached, together
from blendsplat.synthetic.clothes import grid_faces
from blendsplat.synthetic.surface import Anatomy, Array, Skin, as_tensor, unit

KINDS = ("round", "square", "wide")
_SIDES = 6


@dataclass(frozen=True)
class Glasses:
    """kind: of KINDS; colour: the frame's sRGB; wire: its radius in millimetres."""

    kind: str = "square"
    colour: tuple[float, float, float] = (0.08, 0.07, 0.07)
    wire: float = 1.0


# half the width and height of a lens in millimetres, the power of its superellipse
_LENSES = {"round": (22.5, 21.0, 2.0), "square": (25.5, 18.5, 3.6), "wide": (26.5, 15.5, 2.8)}


def eyewear(body: Anatomy, glasses: Glasses) -> Attached:
    """The frame as tubes; it goes with the skull."""
    wide, high, power = _LENSES[glasses.kind]
    skin = body.skin()
    around = np.linspace(0, 2 * np.pi, 40)
    c, s = np.cos(around), np.sin(around)
    reach = (np.abs(c) ** power + np.abs(s) ** power) ** (-1 / power)
    plane = _lens_plane(body, skin, wide)
    parts = []
    for side in (-1, 1):
        x = side * 32.5 + wide * reach * c
        y = -3.0 + high * reach * s
        parts.append(_tube(body, np.stack([x, y, plane - np.abs(x) ** 2 / 520], -1), glasses))
        outer = 32.5 + wide
        hinge = plane - outer**2 / 520
        arm = np.array([
            (outer, 4, hinge), (outer + 5, 5, hinge - 3), (outer + 8, 6, hinge - 14), (74, 8, -50), (77, 9, -84),
            (77, 2, -100), (76, -16, -108),
        ]) * [side, 1, 1]  # fmt: skip
        t = np.linspace(0, len(arm) - 1, 30)
        path = np.stack([np.interp(t, np.arange(len(arm)), arm[:, axis]) for axis in range(3)], -1)
        parts.append(_tube(body, _outside(body, body.skin(ears=False), path), glasses))
    inner = 32.5 - wide
    bridge = np.linspace(-inner, inner, 10)
    parts.append(
        _tube(
            body,
            np.stack([bridge, 1 + 3.5 * np.cos(bridge / inner * np.pi / 2), plane + 0 * bridge + 1.0], -1),
            glasses,
        )
    )
    return together(parts)


def _lens_plane(body: Anatomy, skin: Skin, wide: float) -> float:
    """Millimetres before the eyes' middle at which lenses clear lids, brows and the nose's bridge."""
    at = body.rest_frame(skin.points)
    near = (np.abs(at[:, 0]) < 32 + wide) & (at[:, 1] > -14) & (at[:, 1] < 8) & (at[:, 2] > 0)
    lids = near & (np.abs(at[:, 0]) > 14)
    return max(27.0, float(np.quantile(at[lids, 2], 0.98)) + 6, float(at[near & ~lids, 2].max(initial=0)) + 1.5)


def _outside(body: Anatomy, skin: Skin, path: Array) -> Array:
    """A path [N,3] in millimetres, moved sideways out of the skin."""
    points = path / 1e3 * body.scale + body.eyes
    for _ in range(4):
        over, normals = skin.height(points)
        sideways = np.sign(path[:, 0]) * np.maximum(np.abs(normals[:, 0]), 0.3)
        points[:, 0] += np.clip(0.002 - over, 0, 0.02) * sideways
    return body.rest_frame(points)


def _tube(body: Anatomy, path: Array, glasses: Glasses) -> Attached:
    points = path / 1e3 * body.scale + body.eyes
    tangent = unit(np.gradient(points, axis=0))
    first = unit(np.cross(tangent, np.array([0.1, 0.3, 1.0])))
    second = np.cross(tangent, first)
    turn = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
    out = np.cos(turn)[None, :, None] * first[:, None] + np.sin(turn)[None, :, None] * second[:, None]
    grid = (points[:, None] + 1e-3 * glasses.wire * body.scale * out).reshape(-1, 3)
    normals = as_tensor(out.reshape(-1, 3))
    faces = grid_faces(len(path), _SIDES, closed=True)
    props = Props(as_tensor(grid), faces, as_tensor(np.tile(glasses.colour, (len(grid), 1))), normals=normals)
    return Attached(props, as_tensor(np.ones(len(grid))), normals)
