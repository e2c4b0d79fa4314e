# SPDX-License-Identifier: Apache-2.0
"""The point of a triangle mesh nearest to given points; it puts averaged landmarks and teeth on a surface."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


def closest_on_mesh(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, candidates: int = 32
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """points [P,3], vertices [V,3], faces [F,3] -> (face [P], barycentrics [P,3], distance [P]).

    Looks at the ``candidates`` faces whose centres are nearest, which is exact while faces are of like size.
    """
    corners = vertices[faces]
    _, near = cKDTree(corners.mean(1)).query(points, k=min(candidates, len(faces)))
    near = near.reshape(len(points), -1)
    weights = closest_on_triangles(np.repeat(points, near.shape[1], 0), corners[near.ravel()])
    found = (corners[near.ravel()] * weights[:, :, None]).sum(1).reshape(*near.shape, 3)
    distance = np.linalg.norm(found - points[:, None], axis=2)
    best = distance.argmin(1)
    row = np.arange(len(points))
    return near[row, best], weights.reshape(*near.shape, 3)[row, best], distance[row, best]


def closest_on_triangles(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentrics [N,3] of the point of triangle i (corners [N,3,3]) nearest to point i [N,3].

    The foot of the perpendicular where it lies inside, else the best point of the three edges.
    """
    edge1, edge2, to_point = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    d11, d12, d22 = (edge1 * edge1).sum(1), (edge1 * edge2).sum(1), (edge2 * edge2).sum(1)
    p1, p2 = (to_point * edge1).sum(1), (to_point * edge2).sum(1)
    determinant = d11 * d22 - d12 * d12
    safe = np.where(determinant > 1e-30, determinant, 1.0)
    second, third = (d22 * p1 - d12 * p2) / safe, (d11 * p2 - d12 * p1) / safe
    best = np.stack([1 - second - third, second, third], 1)
    inside = (best.min(1) >= 0) & (determinant > 1e-30)
    best[~inside] = 0
    nearest = np.where(inside, -1.0, np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        along = corners[:, b] - corners[:, a]
        length = np.maximum((along * along).sum(1), 1e-30)
        t = np.clip(((points - corners[:, a]) * along).sum(1) / length, 0, 1)
        distance = ((corners[:, a] + t[:, None] * along - points) ** 2).sum(1)
        better = distance < nearest
        nearest[better] = distance[better]
        best[better] = 0
        best[better, a], best[better, b] = 1 - t[better], t[better]
    return best
