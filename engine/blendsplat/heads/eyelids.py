# SPDX-License-Identifier: Apache-2.0
"""Lids for a head that has none to move (FLAME): two directions from its geometry alone, left and right; 1 is closed.

Seen from the front the skin before an eyeball has one opening, the slit between the lids. Closing turns the upper lid
about the axis that runs sideways through the eyeball until its edge lies on the lower lid's; skin above follows ever
less. Turning keeps the distance from the axis, so that a lid slides over the eyeball.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

from blendsplat.heads.uv import rasterize_uv_faces

RESOLUTION = 256  # cells a side of the front view
NEAR = 2.0  # eyeball radii from its middle, half the view's side: skin beyond is no lid
BEHIND = 0.25  # eyeball radii behind its middle, from which on skin is the socket's
WHOLE, NONE = 1.25, 1.9  # eyeball radii up to which skin follows wholly, from which it does not
TALLEST = 1.6  # eyeball radii: a taller opening is no slit between lids
SHALLOWEST = 0.2  # eyeball radii in front of its middle: where an edge counts to lie at least, lest angles run away
CORNER = 0.25  # eyeball radii outside of the slit's corners over which the movement ends
FEWEST = 8  # columns of the view: a narrower opening is a crack of the mesh
DIP = 0.98  # how near to the eyeball's middle half-closed lids may come, of what they were or of its radius


@dataclass
class _Slit:
    """Edges over x [C], ascending metres from the eyeball's middle: angles lower and upper [C] about the axis that
    runs sideways through it, in radians, 0 ahead and positive up; equal at both ends."""

    x: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def eyelid_directions(vertices: np.ndarray, faces: np.ndarray, eyeballs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Displacements [2,V,3] in metres that close the left and the right eye. vertices [V,3], faces [F,3]; eyeballs:
    vertex indices of the left and of the right one. An eye whose skin has no slit before it keeps zeros."""
    skin = np.ones(len(vertices), bool)
    skin[np.concatenate(eyeballs)] = False
    skin_faces = faces[skin[faces].all(1)]
    return np.stack([_closing(vertices, skin_faces, skin, eyeball) for eyeball in eyeballs])


def _closing(vertices: np.ndarray, faces: np.ndarray, skin: np.ndarray, eyeball: np.ndarray) -> np.ndarray:
    """Displacements [V,3] of one eye's lid."""
    centre, radius = _sphere(vertices[eyeball])
    offsets = vertices - centre
    closing = np.zeros(vertices.shape)
    slit = _find_slit(offsets, faces, radius)
    if slit is None:
        return closing
    distance = np.linalg.norm(offsets, axis=1)
    inside = (offsets[:, 0] > slit.x[0]) & (offsets[:, 0] < slit.x[-1])
    rows = np.flatnonzero(skin & inside & (distance < NONE * radius))
    x, y, z = offsets[rows].T
    lower, upper = np.interp(x, slit.x, slit.lower), np.interp(x, slit.x, slit.upper)
    height, turn, tallest = upper - lower, np.arctan2(y, z), float((slit.upper - slit.lower).max())
    between = np.clip((turn - lower) / np.maximum(height, 1e-9), 0, 1)  # 0 on the lower lid and below
    follows = np.where(turn < upper, between, 1 - _smooth((turn - upper) / tallest))
    follows = follows * (1 - _smooth((distance[rows] / radius - WHOLE) / (NONE - WHOLE)))
    front = np.quantile(np.linalg.norm(offsets[eyeball], axis=1)[offsets[eyeball, 2] > 0], 0.9)
    closing[rows] = _turned(offsets[rows], height * follows, float(front))
    return closing


def _sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre [3] and radius of the sphere nearest to an eyeball's points [N,3]."""
    matrix = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    solution = np.linalg.lstsq(matrix, (points**2).sum(1), rcond=None)[0]
    centre = solution[:3]
    return centre, float(np.sqrt(max(solution[3] + centre @ centre, 0)))


def _find_slit(offsets: np.ndarray, faces: np.ndarray, radius: float) -> _Slit | None:
    """The largest hole that the skin near an eyeball (vertices [V,3] about its middle) leaves in the front view."""
    near = (np.linalg.norm(offsets, axis=1) < NEAR * radius) & (offsets[:, 2] > -BEHIND * radius)
    faces, side = faces[near[faces].all(1)], 2 * NEAR * radius
    covered, triangle, barycentrics = rasterize_uv_faces(offsets[:, :2] / side + 0.5, faces, RESOLUTION)
    depth = np.full(RESOLUTION * RESOLUTION, np.nan)
    depth[covered] = (offsets[faces[triangle], 2] * barycentrics).sum(1)
    depth = depth.reshape(RESOLUTION, RESOLUTION)
    parts, count = label(np.isnan(depth))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    border = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    sizes[0] = sizes[border] = 0  # covered; and what surrounds the skin
    hole = parts == sizes.argmax()
    columns = np.flatnonzero(hole.any(0))
    if not sizes.any() or len(columns) < FEWEST:
        return None
    low = hole[:, columns].argmax(0)
    high = RESOLUTION - hole[::-1, columns].argmax(0)
    if (high - low).max() * side > TALLEST * radius * RESOLUTION:
        return None

    def angle(row: np.ndarray, skin_row: np.ndarray) -> np.ndarray:
        """Of an edge whose skin lies in the cells ``skin_row``, which all are covered: the hole ends there."""
        return np.arctan2((row / RESOLUTION - 0.5) * side, np.maximum(depth[skin_row, columns], SHALLOWEST * radius))

    lower, upper = angle(low, low - 1), angle(high, high)
    middle, ends = (lower[[0, -1]] + upper[[0, -1]]) / 2, CORNER * radius / side * RESOLUTION
    x = (np.concatenate([columns[:1] - ends, columns + 0.5, columns[-1:] + 1 + ends]) / RESOLUTION - 0.5) * side
    return _Slit(x, *(np.concatenate([middle[:1], edge, middle[1:]]) for edge in (lower, upper)))


def _turned(offsets: np.ndarray, angle: np.ndarray, radius: float) -> np.ndarray:
    """Displacements [N,3] of points ``offsets`` [N,3] about an eyeball's middle that turn down by ``angle`` [N].

    A weight between 0 and 1 moves a point along a straight line, which dips towards the eyeball: where it would go too
    deep, the end lies as far in front as the tangent from its start.
    """
    c, s = np.cos(angle), np.sin(angle)
    x, y, z = offsets.T
    ends = np.stack([x, y * c - z * s, y * s + z * c], 1)
    nearest = DIP * np.minimum(radius, np.linalg.norm(offsets, axis=1))
    circle = np.sqrt(np.maximum(nearest**2 - x**2, 0))  # what the path may not enter, in the plane of the turn
    touching = np.arccos(np.clip(circle / np.maximum(np.hypot(y, z), 1e-9), 0, 1))  # from the start, as an angle
    where = np.arctan2(y, z) - touching
    tangent = (circle - ends[:, 1] * np.sin(where)) / np.maximum(np.cos(where), 0.2)
    ends[:, 2] = np.where(angle > touching, np.maximum(ends[:, 2], tangent), ends[:, 2])
    return ends - offsets


def _smooth(t: np.ndarray) -> np.ndarray:
    """0 up to 0, 1 from 1 on, smooth between."""
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))
