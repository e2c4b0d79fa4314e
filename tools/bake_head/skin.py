# SPDX-License-Identifier: Apache-2.0
"""Head and neck cut from the body along an edge loop, and refined round eyes and lips.

A refined vertex is a weighted sum of the body's, so every displacement of the body is one of the head's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from tools.bake_head.makehuman import MakeHuman

NECK_HEIGHT = 547.8  # mm in the source's frame: where on the front's middle the edge loop starts that ends the neck
LID_RINGS = 2  # rings of vertices kept of the pocket behind a lid's edge
EYE_REACH, LIP_REACH = 22.0, 7.0  # mm: how far from the eye's middle, from the lips, quads are cut in four

Edge = tuple[int, int]


@dataclass
class Skin:
    """P vertices of the skin with the mouth's inside and the lids' edges, in terms of the body's N vertices."""

    weights: sp.csr_matrix  # [P,N]; rows sum to 1
    faces: np.ndarray  # [F,3], counter-clockwise seen from outside
    uvs: np.ndarray  # [T,2]: the body's layout, refined
    uv_faces: np.ndarray  # [F,3]
    island: np.ndarray  # [F]: the piece of the body's layout a face lies in
    neck_ring: np.ndarray  # [R] vertices, in order


def cut_skin(source: MakeHuman) -> Skin:
    """The skin of the base mesh."""
    quads, uv_quads = source.quads("body")
    ring = _edge_loop(source.points, quads)
    rows = _above(quads, ring)
    quads, uv_quads = quads[rows], uv_quads[rows]
    island = _islands(uv_quads)
    kept = _without_pockets(source.points, quads, island)
    quads, uv_quads, island = quads[kept], uv_quads[kept], island[kept]
    used, quads = np.unique(quads, return_inverse=True)
    uv_used, uv_quads = np.unique(uv_quads, return_inverse=True)
    quads, uv_quads = quads.reshape(-1, 4), uv_quads.reshape(-1, 4)
    points = source.points[used]
    split = _to_refine(source, used, points, quads)
    steps, faces, uv_steps, uv_faces, parent = _refine(points, quads, uv_quads, split)
    base = sp.csr_matrix((np.ones(len(used)), (np.arange(len(used)), used)), (len(used), len(source.points)))
    where = np.full(len(source.points), -1)
    where[used] = np.arange(len(used))
    return Skin(
        (steps @ base).tocsr(), faces, uv_steps @ source.uvs[uv_used], uv_faces, island[parent], where[np.array(ring)]
    )


def _edges(quads: np.ndarray) -> dict[Edge, list[int]]:
    """Edge (smaller vertex first) -> the quads that have it."""
    found: dict[Edge, list[int]] = defaultdict(list)
    for number, quad in enumerate(quads):
        for a, b in zip(quad, np.roll(quad, -1), strict=True):
            found[min(a, b), max(a, b)].append(number)
    return found


class _Lines:
    """Walks straight on over vertices of four edges."""

    def __init__(self, quads: np.ndarray) -> None:
        self.quads_of = _edges(quads)
        self.edges_at: dict[int, list[Edge]] = defaultdict(list)
        for edge in self.quads_of:
            self.edges_at[edge[0]].append(edge)
            self.edges_at[edge[1]].append(edge)

    def onwards(self, a: int, b: int) -> int | None:
        """The vertex after b on the line from a over b; None where b has not four edges inside the mesh."""
        edges = self.edges_at[b]
        if len(edges) != 4 or any(len(self.quads_of[e]) != 2 for e in edges):
            return None
        beside = set(self.quads_of[min(a, b), max(a, b)])
        ahead = [e for e in edges if not beside & set(self.quads_of[e])]
        return (ahead[0][0] + ahead[0][1] - b) if len(ahead) == 1 else None


def _edge_loop(points: np.ndarray, quads: np.ndarray) -> list[int]:
    """The closed line of edges round the neck."""
    body = np.unique(quads)
    front = body[(np.abs(points[body, 0]) < 0.01) & (points[body, 2] > 0)]
    start = int(front[np.abs(points[front, 1] - NECK_HEIGHT).argmin()])
    lines = _Lines(quads)
    aside = [e[0] + e[1] - start for e in lines.edges_at[start]]
    loop = [start, int(max(aside, key=lambda v: points[v, 0]))]
    while (after := lines.onwards(loop[-2], loop[-1])) != start:
        if after is None or len(loop) > 200:
            raise ValueError("The line of edges round the neck does not close: the base mesh is another one.")
        loop.append(int(after))
    return loop


def _above(quads: np.ndarray, ring: list[int]) -> np.ndarray:
    """Rows of the quads on the smaller side of a closed line of edges: a head has fewer than a body."""
    border = {(min(a, b), max(a, b)) for a, b in zip(ring, ring[1:] + ring[:1], strict=True)}
    pairs = np.array([q for e, q in _edges(quads).items() if len(q) == 2 and e not in border])
    graph = sp.coo_matrix((np.ones(len(pairs)), pairs.T), (len(quads), len(quads)))
    _, label = connected_components(graph, directed=False)
    beside = {int(label[q]) for e, qs in _edges(quads).items() if e in border for q in qs}
    return np.flatnonzero(label == min(beside, key=lambda side: (label == side).sum()))


def _islands(uv_quads: np.ndarray) -> np.ndarray:
    """[Q]: number of the connected piece of the layout, largest first."""
    count = uv_quads.max() + 1
    ends = np.concatenate([uv_quads[:, [0, k]] for k in (1, 2, 3)])
    _, label = connected_components(sp.coo_matrix((np.ones(len(ends)), ends.T), (count, count)), directed=False)
    names, index, sizes = np.unique(label[uv_quads[:, 0]], return_inverse=True, return_counts=True)
    order = np.empty(len(names), int)
    order[np.argsort(-sizes, kind="stable")] = np.arange(len(names))
    return order[index]


def eye_side(points: np.ndarray, quads: np.ndarray, island: np.ndarray, number: int) -> int:
    """1, -1: an island that is a pocket behind a left, right lid; 0: another."""
    own = points[np.unique(quads[island == number])]
    middle = own.mean(0)
    is_pocket = 15 < abs(middle[0]) < 45 and 700 < middle[1] < 750 and np.ptp(own, axis=0).max() < 45
    return int(np.sign(middle[0])) if is_pocket else 0


def _without_pockets(points: np.ndarray, quads: np.ndarray, island: np.ndarray) -> np.ndarray:
    """Rows of the quads without the bags behind the eyeballs, of which only rings next to the lids' edges stay."""
    pockets = [n for n in np.unique(island) if eye_side(points, quads, island, n)]
    inside = np.isin(island, pockets)
    outside = np.zeros(len(points), bool)
    outside[quads[~inside]] = True
    ring = np.where(outside, 0, 99)
    for _ in range(LID_RINGS + 1):
        near = ring[quads].min(1)
        for corner in range(4):
            np.minimum.at(ring, quads[:, corner], near + 1)
    return np.flatnonzero(~inside | (ring[quads].max(1) <= LID_RINGS))


def _to_refine(source: MakeHuman, used: np.ndarray, points: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """[Q] bool: quads near an eye or the lips."""
    middle = points[quads].mean(1)
    near = np.zeros(len(quads), bool)
    for name in ("joint-l-eye", "joint-r-eye"):
        near |= np.linalg.norm(middle - source.middle(name), axis=1) < EYE_REACH
    lips = points[vertex_mask(source, "lips")[used] > 0.5]
    lips = np.concatenate([lips, lips * [-1, 1, 1]])  # the mask is not quite the same on both sides
    away = np.linalg.norm(middle[:, None] - lips[None], axis=2).min(1)
    return near | (away < LIP_REACH)


def vertex_mask(source: MakeHuman, name: str) -> np.ndarray:
    """[N]: the largest value of a mask at a body vertex's texture vertices."""
    image, (quads, uv_quads) = source.mask(name), source.quads("body")
    size = len(image)
    at = np.clip((source.uvs[uv_quads.ravel()] * [size, -size] + [0, size]).astype(int), 0, size - 1)
    found = np.zeros(len(source.points))
    np.maximum.at(found, quads.ravel(), image[at[:, 1], at[:, 0]])
    return found


def _refine(
    points: np.ndarray, quads: np.ndarray, uv_quads: np.ndarray, split: np.ndarray
) -> tuple[sp.csr_matrix, np.ndarray, sp.csr_matrix, np.ndarray, np.ndarray]:
    """Cut the quads ``split`` [Q] in four and triangulate all.

    Returns (vertices' weights [P',P], faces [F,3], texture vertices' weights [T',T], uv_faces [F,3], quad of a face).
    New vertices lie on the four-point curve along a line of edges (Dyn, Levin, Gregory 1987), so that what was smooth
    stays smooth; the middle of a quad on the Coons patch of its sides.
    """
    edges = _edges(quads)
    while True:  # a quad with three cut sides is cut itself
        cut = {e for e, qs in edges.items() if split[qs].any()}
        sides = np.array(
            [sum((min(a, b), max(a, b)) in cut for a, b in zip(q, np.roll(q, -1), strict=True)) for q in quads]
        )
        more = (sides >= 3) & ~split
        if not more.any():
            break
        split = split | more
    lines = _Lines(quads)
    rows: list[dict[int, float]] = [{v: 1.0} for v in range(len(points))]
    middle_of: dict[Edge, int] = {}
    for edge in sorted(cut):
        middle_of[edge] = len(rows)
        rows.append(_four_point(lines, *edge))
    uv_count = int(uv_quads.max()) + 1
    uv_rows: list[dict[int, float]] = [{v: 1.0} for v in range(uv_count)]
    uv_middle_of: dict[Edge, int] = {}

    def uv_middle(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in uv_middle_of:
            uv_middle_of[key] = len(uv_rows)
            uv_rows.append({a: 0.5, b: 0.5})
        return uv_middle_of[key]

    faces: list[list[int]] = []
    uv_faces: list[list[int]] = []
    parent: list[int] = []

    def add(number: int, corners: list[int], textures: list[int]) -> None:
        for triangle in _triangles(_places(points, rows, corners)):
            faces.append([corners[k] for k in triangle])
            uv_faces.append([textures[k] for k in triangle])
            parent.append(number)

    for number, (quad, uv) in enumerate(zip(quads.tolist(), uv_quads.tolist(), strict=True)):
        keys = [(min(a, b), max(a, b)) for a, b in zip(quad, quad[1:] + quad[:1], strict=True)]
        if split[number]:
            middles = [middle_of[k] for k in keys]
            uv_middles = [uv_middle(uv[k], uv[(k + 1) % 4]) for k in range(4)]
            centre, uv_centre = len(rows), len(uv_rows)
            rows.append(_sum([(0.5, rows[m]) for m in middles] + [(-0.25, rows[c]) for c in quad]))
            uv_rows.append(dict.fromkeys(uv, 0.25))
            for k in range(4):
                add(
                    number,
                    [quad[k], middles[k], centre, middles[k - 1]],
                    [uv[k], uv_middles[k], uv_centre, uv_middles[k - 1]],
                )
            continue
        corners, textures = [], []
        for k in range(4):
            corners.append(quad[k])
            textures.append(uv[k])
            if keys[k] in middle_of:
                corners.append(middle_of[keys[k]])
                textures.append(uv_middle(uv[k], uv[(k + 1) % 4]))
        add(number, corners, textures)
    weights = _matrix(rows, len(points))
    return weights, np.array(faces), _matrix(uv_rows, uv_count), np.array(uv_faces), np.array(parent)


def _four_point(lines: _Lines, b: int, c: int) -> dict[int, float]:
    """Weights of the middle of edge (b, c): -1/16, 9/16, 9/16, -1/16 along its line, mirrored where that ends."""
    row = {b: 9 / 16, c: 9 / 16}
    for here, there in ((c, b), (b, c)):
        beyond = lines.onwards(here, there)
        if beyond is None:  # 2 there - here
            row[there] -= 2 / 16
            row[here] += 1 / 16
        else:
            row[beyond] = row.get(beyond, 0.0) - 1 / 16
    return row


def _sum(terms: list[tuple[float, dict[int, float]]]) -> dict[int, float]:
    total: dict[int, float] = defaultdict(float)
    for factor, row in terms:
        for key, value in row.items():
            total[key] += factor * value
    return dict(total)


def _places(points: np.ndarray, rows: list[dict[int, float]], corners: list[int]) -> np.ndarray:
    return np.array([sum(w * points[v] for v, w in rows[c].items()) for c in corners])


def _triangles(corners: np.ndarray) -> list[tuple[int, int, int]]:
    """A polygon [K,3] of four to six corners as triangles: a quad along its shorter diagonal, in a mirror image along
    the mirrored one; with corners on its sides as a fan from the first of those."""
    if len(corners) == 4:
        first, second = np.linalg.norm(corners[2] - corners[0]), np.linalg.norm(corners[3] - corners[1])
        if abs(first - second) > 1e-4 * first:
            return [(0, 1, 2), (0, 2, 3)] if first < second else [(0, 1, 3), (1, 2, 3)]
        lowest = int(np.lexsort((np.abs(corners[:, 0]).round(3), corners[:, 2].round(3), corners[:, 1].round(3)))[0])
        return [(0, 1, 2), (0, 2, 3)] if lowest % 2 == 0 else [(0, 1, 3), (1, 2, 3)]
    sides = corners - np.roll(corners, 1, 0), np.roll(corners, -1, 0) - corners
    bend = np.linalg.norm(np.cross(*sides), axis=1) / np.prod([np.linalg.norm(s, axis=1) for s in sides], axis=0)
    first = int(bend.argmin())  # the straightest corner is one on a side
    order = [(first + k) % len(corners) for k in range(len(corners))]
    return [(order[0], order[k], order[k + 1]) for k in range(1, len(corners) - 1)]


def _matrix(rows: list[dict[int, float]], columns: int) -> sp.csr_matrix:
    index = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    keys = np.concatenate([list(row) for row in rows])
    values = np.concatenate([list(row.values()) for row in rows])
    return sp.csr_matrix((values, (index, keys)), (len(rows), columns))
