# SPDX-License-Identifier: Apache-2.0
"""Two rows of teeth for a head that has none: 60 vertices behind the lips, as RGBAvatar adds to FLAME.

The upper row is rigid with the neck joint (the skull), the lower with the jaw; identity moves both as it moves the lips
on average, expressions and pose correctives do not touch them. Their texels lie in a strip that FLAME's UV leaves free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COLUMNS = 15  # per row of vertices; two rows of vertices a jaw
UV_STRIP = (0.25, 0.955, 0.75, 0.995)  # u0, v0, u1, v1: the upper jaw's half above the lower's
_OUTLINE = 1.05  # twelve points cut the curves of the lips' outline: so much wider, it holds the vertices of their rim
_LIP_DEPTH = 0.15  # eye distances behind the corners of the mouth: what lies deeper is no lip
_WIDTH, _SETBACK, _DEPTH, _TALL = 0.62, 0.008, 0.020, 0.010  # share of the mouth's width; metres


@dataclass
class Mouth:
    """Where a closed mouth is: the middle of the line between the lips [3], half its width (metres), lip vertices."""

    middle: np.ndarray
    half_width: float
    lips: np.ndarray  # vertex indices of both lips


@dataclass
class Teeth:
    """Vertices [60,3] (upper jaw first), faces [56,3] into them, uvs [60,2] (texture vertex i belongs to vertex i)."""

    vertices: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray


def make_teeth(mouth: Mouth) -> Teeth:
    """Two arches of teeth behind the lips of ``mouth``: half ellipses seen from above, the upper one just in front."""
    angle = np.linspace(-1.25, 1.25, COLUMNS)  # from the person's right to the left
    across = np.sin(angle) / np.sin(1.25)
    back = 1 - np.cos(angle)
    across_uv = UV_STRIP[0] + (UV_STRIP[2] - UV_STRIP[0]) * (across + 1) / 2
    middle_v = (UV_STRIP[1] + UV_STRIP[3]) / 2
    rows, texels = [], []
    for top, bottom, forward, v_top, v_bottom in (
        (_TALL - 0.002, -0.002, 0.0, UV_STRIP[3], middle_v + 0.001),
        (-0.002, -_TALL - 0.001, -0.0015, middle_v - 0.001, UV_STRIP[1]),
    ):
        for height, v in ((top, v_top), (bottom, v_bottom)):
            x = mouth.middle[0] + _WIDTH * mouth.half_width * across
            z = mouth.middle[2] - _SETBACK + forward - _DEPTH * back
            rows.append(np.stack([x, np.full(COLUMNS, mouth.middle[1] + height), z], 1))
            texels.append(np.stack([across_uv, np.full(COLUMNS, v)], 1))
    faces = []
    for jaw in range(2):
        for column in range(COLUMNS - 1):
            a = jaw * 2 * COLUMNS + column  # upper edge, towards the person's left: a, a + 1; lower edge: b, b + 1
            b = a + COLUMNS
            faces += [[a, b, b + 1], [a, b + 1, a + 1]]
    return Teeth(np.concatenate(rows), np.array(faces, np.int64), np.concatenate(texels))


def find_mouth(
    vertices: np.ndarray, jaw_weights: np.ndarray, skin: np.ndarray, eye_distance: float, eye_height: float
) -> Mouth:
    """The mouth by geometry: where, on the middle of the front, the jaw's skinning weight jumps from skull to jaw.

    vertices [V,3], jaw_weights [V], skin [V] bool; eye_distance and eye_height in metres. Where no jump is found, a
    face's usual proportions are taken.
    """
    unit = eye_distance
    x, y, z = vertices.T
    low, high = eye_height - 1.75 * unit, eye_height - 0.75 * unit
    front = skin & (np.abs(x) < 0.15 * unit) & (y > low) & (y < high)
    front &= z > (z[front].max() - 0.35 * unit if front.any() else np.inf)
    height = eye_height - 1.13 * unit
    if front.sum() > 8 and np.ptp(jaw_weights[front]) > 0.3:
        level = (jaw_weights[front].max() + jaw_weights[front].min()) / 2
        upper, lower = y[front][jaw_weights[front] < level], y[front][jaw_weights[front] >= level]
        candidates = np.linspace(low, high, 400)
        wrong = [(upper < at).sum() + (lower > at).sum() for at in candidates]
        height = float(candidates[np.array(wrong) == min(wrong)].mean())
    near = skin & (np.abs(y - height) < 0.06 * unit) & (np.abs(x) < 0.1 * unit)
    depth = z[near].max() if near.any() else z[skin].max() - 0.25 * unit
    half_width = 0.40 * unit
    oval = (x / (1.1 * half_width)) ** 2 + ((y - height) / (0.17 * unit)) ** 2 < 1
    lips = np.flatnonzero(skin & oval & (z > depth - 0.4 * unit))
    return Mouth(np.array([0.0, height, depth - 0.05 * unit]), half_width, lips)


def mouth_of_landmarks(points: np.ndarray, vertices: np.ndarray, skin: np.ndarray, eye_distance: float) -> Mouth:
    """The mouth from the lips of the 68 landmarks (48 to 67, [20,3]: twelve around them, eight along the opening).

    vertices [V,3], skin [V] bool; eye_distance in metres. Its lips are the vermilion: the skin inside the outer points'
    outline, seen from the front.
    """
    outer, inner = points[:12], points[12:]
    right, left, upper, lower = inner[0], inner[4], inner[2], inner[6]
    middle = outer[:, :2].mean(0)
    inside = _inside((vertices[:, :2] - middle) / _OUTLINE + middle, outer[:, :2])
    front = vertices[:, 2] > outer[:, 2].min() - _LIP_DEPTH * eye_distance
    lips = np.flatnonzero(skin & inside & front)
    return Mouth((upper + lower) / 2, float(np.linalg.norm(left - right) / 2), lips)


def _inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Which of the points [P,2] lie inside a polygon [N,2] (by the even-odd rule)."""
    x, y = points.T
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside
