# SPDX-License-Identifier: Apache-2.0
"""Closes the lips: the source's are slightly parted at rest, and its shapes part them more.

The lines along which the lips meet are found once; a head's gap between them is a linear function of its vertices, and
so is what closes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import dijkstra

from tools.bake_head.assemble import Assembly

MOUTH = 1  # the island of the mouth's inside
SEAM_FROM = 0.72  # share of the mouth's half width
COLUMN = 1.6  # mm: how wide a column is in which the lines are looked for
PRESSED = 0.25  # mm by which the closed lips overlap, so that no light falls between them
FADE_UP, FADE_DOWN, FADE_INSIDE = 9.0, 11.0, 9.0  # mm along the surface over which closing fades


@dataclass
class Lips:
    """C columns from the person's right to the left."""

    x: np.ndarray  # [C] mm
    upper: np.ndarray  # [C] vertices of the upper lip that lie lowest
    lower: np.ndarray  # [C] vertices of the lower lip that lie highest
    share: np.ndarray  # [V]: how far a vertex follows: negative on the upper lip, which goes down
    place: np.ndarray  # [V]: x of the resting head, at which the gap is read

    def gap(self, points: np.ndarray) -> np.ndarray:
        """Height of the opening [V] at each vertex's place, of points or displacements [V,3]."""
        return np.interp(self.place, self.x, points[self.upper, 1] - points[self.lower, 1])

    def closed(self, points: np.ndarray) -> np.ndarray:
        """A head's vertices [V,3] with its lips closed."""
        moved = points.copy()
        moved[:, 1] += self.share * (self.gap(points) + PRESSED)
        return moved


def find_lips(head: Assembly) -> Lips:
    """The lips of the head at rest."""
    faces, island, points = head.skin.faces, head.skin.island, head.points
    skin = np.zeros(len(points), bool)
    skin[faces[island == 0]] = True
    inside = np.zeros(len(points), bool)
    inside[faces[island == MOUTH]] = True
    seam = np.flatnonzero(skin & inside)
    left, right = seam[points[seam, 0].argmax()], seam[points[seam, 0].argmin()]
    is_upper = points[seam, 1] > points[left, 1]  # the corners lie between the seam's upper and lower half
    ends = {int(left), int(right)}
    tops = [int(v) for v, up in zip(seam, is_upper, strict=True) if up and int(v) not in ends]
    bottoms = [int(v) for v, up in zip(seam, is_upper, strict=True) if not up and int(v) not in ends]
    to_top, to_bottom = _along(points, faces, tops), _along(points, faces, bottoms)
    upper_side = to_top < to_bottom

    near = np.minimum(to_top, to_bottom) < 9
    depth = points[:, 2] - np.interp(np.abs(points[:, 0]), *_depth_of(points, seam))
    on_seam = np.isin(np.arange(len(points)), seam)
    corner = SEAM_FROM * points[left, 0]
    columns, upper, lower = [], [], []
    for x in np.arange(0, points[left, 0], COLUMN):
        # towards the corners the lips meet at the seam, before that in front of it
        own = (on_seam if x > corner else skin & near & (depth > -0.5)) & (np.abs(points[:, 0] - x) < COLUMN)
        above, below = np.flatnonzero(own & upper_side), np.flatnonzero(own & ~upper_side)
        if len(above) and len(below):
            columns.append(x)
            upper.append(above[points[above, 1].argmin()])
            lower.append(below[points[below, 1].argmax()])
    one_side = slice(1, None) if columns[0] == 0 else slice(None)
    mirrored = [[int(head.mirror[v]) for v in line[one_side]][::-1] for line in (upper, lower)]
    columns = [-x for x in columns[one_side]][::-1] + columns
    upper, lower = mirrored[0] + upper, mirrored[1] + lower
    reach = np.where(inside & ~skin, FADE_INSIDE, np.where(upper_side, FADE_UP, FADE_DOWN))
    away = np.where(upper_side, to_top, to_bottom)
    follow = np.clip(1 - away / reach, 0, 1)
    follow = follow * follow * (3 - 2 * follow)
    past = np.clip((np.abs(points[:, 0]) - 0.9 * points[left, 0]) / (0.18 * points[left, 0]), 0, 1)
    share = np.where(upper_side, -0.5, 0.5) * follow * (1 - past)
    share[len(head.skin.weights.indptr) - 1 :] = 0
    return Lips(np.array(columns), np.array(upper), np.array(lower), share, points[:, 0])


def _along(points: np.ndarray, faces: np.ndarray, start: list[int]) -> np.ndarray:
    """Distance [V] along edges from a set of vertices, mm."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    length = np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1) + 1e-6
    graph = sp.coo_matrix((length, ends.T), (len(points), len(points))).tocsr()
    return np.asarray(dijkstra(graph, directed=False, indices=start, min_only=True, limit=40.0))


def _depth_of(points: np.ndarray, seam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(np.abs(points[seam, 0]), kind="stable")
    return np.abs(points[seam[order], 0]), points[seam[order], 2]
