# SPDX-License-Identifier: Apache-2.0
"""The skin: a grid over skull, relief and lids, cut open at the eyes and the mouth; and the whole neutral mesh.

Columns are chosen to pass through the corners of the eyes and of the mouth, so a slit is a row whose vertices exist
twice.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from blendsplat.heads.builtin import ears, eyes, mouth
from blendsplat.heads.builtin.curves import Array, band, bump, fade, spot
from blendsplat.heads.builtin.mesh import Mesh, MeshBuilder
from blendsplat.heads.builtin.relief import MOUTH_X, MOUTH_Y, relief
from blendsplat.heads.builtin.skull import CHIN, half_width, jaw_lift, skull

EYE_ROW = 0.0
HAIR_THICKNESS = 4.5  # of the neutral head; identity makes it more or less

ROWS = np.array([
    112.4, 110, 105.5, 98.5, 89.5, 79.5, 69, 58.5, 49, 41, 34, 28.5, 24, 20.5, 17.5, 14.8, 12.2, 9.8, 7.8, 6.1, 4.4,
    2.8, 1.3, EYE_ROW, -1.3, -2.9, -5.2, -8, -11.5, -15, -19, -23, -27, -30.5, -33.5, -36.2, -38.6, -40.6, -42.3,
    -44.2, -46.5, -50, -54, -57.4, -60.4, -63, -65, -66.3, MOUTH_Y, -67.7, -69, -71, -73.6, -76.6, -80, -84, -88.5,
    -94, -100, -106, -110.5, -114, -118, -124, -132, -143, -156, -170, -185, -200,
], float)  # fmt: skip


def _column_angles() -> Array:
    inner, outer = (
        np.rad2deg(np.arcsin(c / half_width(np.array(EYE_ROW)))) for c in (eyes.INNER_CANTHUS, eyes.OUTER_CANTHUS)
    )
    corner = np.rad2deg(np.arcsin(MOUTH_X / half_width(np.array(MOUTH_Y))))
    stops = (0, inner, corner, outer, 62, 85, 110, 180)
    counts = (6, 5, 7, 5, 4, 3, 4)
    right = np.concatenate(
        [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(stops, stops[1:], counts, strict=False)]
    )
    return np.concatenate([-np.array([180.0]), -right[:0:-1], right, [180.0]])


ANGLES = _column_angles()  # first and last are the same column, behind


def bare_skin(angle: Array, height: Array) -> Array:
    """Skin points [...,3] before the lids: skull, features and neck."""
    points = skull(angle, height)
    x, y, z = np.moveaxis(points, -1, 0)
    # Features are drawn in front view, on rows that have not yet climbed towards the ears.
    feature_y = np.where(height > CHIN - 1, y - 0.65 * jaw_lift(angle, height), -300)
    z = z + relief(x, feature_y) * fade(92, 66, np.abs(angle))
    points = np.stack([x, y, z], -1)
    outwards = points - np.array([0.0, 15.0, -12.0])
    outwards = outwards / np.linalg.norm(outwards, axis=-1, keepdims=True)
    return points + _neck_relief(angle, height) + HAIR_THICKNESS * hair_mask(angle, height)[..., None] * outwards


def hair_mask(angle: Array, height: Array) -> Array:
    """1 where hair grows, fading over the hairline."""
    a = np.abs(angle)
    line = np.interp(
        a,
        (0, 15, 28, 40, 50, 58, 66, 74, 82, 90, 96, 112, 135, 180),
        (68, 68, 65, 56, 44, 32, 12, -4, -12, -10, 8, 2, -45, -72),
    )
    return fade(-4, 12, height - line)


def _neck_relief(angle: Array, height: Array) -> Array:
    """Larynx, the notch above the breastbone, and the muscles from behind the ears to it; outwards, mm."""
    a = np.abs(angle)
    muscle = 3.2 * bump(a - np.interp(-height, (118, 200), (88, 16)), 15) * band(-196, -132, 14, height)
    larynx = 4.5 * spot(a, height, (0, -147), (13, 9))
    notch = 3.5 * spot(a, height, (0, -192), (12, 12))
    outwards = muscle + larynx - notch
    direction = np.stack([np.sin(np.deg2rad(angle)), 0 * angle, np.cos(np.deg2rad(angle))], -1)
    return outwards[..., None] * direction


@cache
def neutral_mesh() -> Mesh:
    """The whole head at rest, eyes open, mouth closed."""
    builder = MeshBuilder()
    _add_skin(builder)
    for side in (1, -1):
        eyes.add_eyeball(builder, side)
        ears.add_ear(builder, side)
    mouth.add_teeth(builder, upper=True)
    mouth.add_teeth(builder, upper=False)
    mouth.add_tongue(builder)
    return builder.finish()


def _add_skin(builder: MeshBuilder) -> None:
    height, angle = np.meshgrid(ROWS, ANGLES[:-1], indexing="ij")
    points = eyes.drape(bare_skin(angle, height), height, angle)
    grid = builder.vertices(points, "skin", height, angle)
    flat = [points.reshape(-1, 3)]
    shown_below = grid.copy()

    for name, row, columns in _slits():
        middle = columns[1:-1]
        below_height = ROWS[row] - 0.01
        h, a = np.full(len(middle), below_height), ANGLES[middle]
        copies = eyes.drape(bare_skin(a, np.full(len(middle), ROWS[row])), h, a)
        shown_below[row, middle] = builder.vertices(copies, "skin", h, a)
        flat.append(copies)
        builder.named[f"{name}_upper"] = grid[row, columns]
        builder.named[f"{name}_lower"] = shown_below[row, columns]

    wrap = [*range(grid.shape[1]), 0]
    s, t = _skin_uv()
    builder.sheet(grid[:, wrap], shown_below[:, wrap], s[None], t[1:, None], "skin")
    crown = int(builder.vertices(np.array([[0.0, 113.3 + HAIR_THICKNESS, -16.0]]), "skin", 113.0, 180.0)[0])
    middles = np.stack([(s[:-1] + s[1:]) / 2, np.ones(len(s) - 1)], -1)
    builder.fan(crown, grid[0, wrap], middles, s, np.full(len(s), t[1]), "skin")
    builder.named["neck_ring"] = grid[-1]

    so_far = np.concatenate(flat)
    for name in ("left", "right"):
        _add_lid_rim(builder, so_far, name)
    mouth.add_lining(builder, so_far, builder.named["mouth_upper"], builder.named["mouth_lower"])


def _slits() -> list[tuple[str, int, np.ndarray]]:
    """(name, row, columns from corner to corner) of the eyes and the mouth."""
    inner, outer = (np.arcsin(c / half_width(np.array(EYE_ROW))) for c in (eyes.INNER_CANTHUS, eyes.OUTER_CANTHUS))
    corner = np.rad2deg(np.arcsin(MOUTH_X / half_width(np.array(MOUTH_Y))))
    inner, outer = np.rad2deg(inner), np.rad2deg(outer)
    near = 1e-6
    left = np.flatnonzero((inner - near <= ANGLES) & (outer + near >= ANGLES))
    right = np.flatnonzero((inner - near <= -ANGLES) & (outer + near >= -ANGLES))
    lips = np.flatnonzero(np.abs(ANGLES) <= corner + near)
    eye_row, mouth_row = int(np.flatnonzero(ROWS == EYE_ROW)[0]), int(np.flatnonzero(ROWS == MOUTH_Y)[0])
    return [("left_eye", eye_row, left), ("right_eye", eye_row, right), ("mouth", mouth_row, lips)]


def _add_lid_rim(builder: MeshBuilder, points: Array, side: str) -> None:
    upper, lower = builder.named[f"{side}_eye_upper"], builder.named[f"{side}_eye_lower"]
    ring = np.concatenate([upper, lower[1:-1][::-1]])
    sign = np.concatenate([np.ones(len(upper)), -np.ones(len(ring) - len(upper))])
    inner = builder.vertices(
        eyes.lid_rim(points[ring]), "lid_rims", EYE_ROW - 0.01 * (sign < 0), 26.0 if side == "left" else -26.0
    )
    rows = np.stack([np.append(ring, ring[0]), np.append(inner, inner[0])])
    around = np.linspace(0, 1, rows.shape[1])
    right_side = np.full(len(ring), side == "right")
    builder.sheet(rows, None, around[None], np.array([[1.0], [0.0]]), f"{side}_lid", right_side=right_side)
    builder.named[f"{side}_lid_ring"], builder.named[f"{side}_lid_rim"] = ring, inner


def _skin_uv() -> tuple[Array, Array]:
    """s of every column and t of the crown and every row: length along the surface, with more room for the face."""
    mid = np.abs(ANGLES[:-1] + ANGLES[1:]) / 2
    width = np.diff(ANGLES) * (0.5 + 1.1 * fade(95, 45, mid))
    s = np.concatenate([[0], np.cumsum(width)])
    rows = np.concatenate([[113], ROWS])
    profile = skull(np.zeros(len(rows)), rows)
    length = np.linalg.norm(np.diff(profile, axis=0), axis=1).clip(1.8)
    middle = (rows[:-1] + rows[1:]) / 2
    weight = 0.55 + 0.85 * band(-112, 22, 25, middle)
    t = np.concatenate([[0], np.cumsum(length * weight)])
    return s / s[-1], 1 - t / t[-1]
