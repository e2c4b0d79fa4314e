# SPDX-License-Identifier: Apache-2.0
"""A UV layout without overlaps for a head that comes without one: skin opened along the back, eyes as discs.

The skin is flattened by solving for every vertex as a positive mean of its neighbours with the border on a convex
outline, which can never fold (Tutte 1963, Floater 1997); the weights are then renewed from the stretch, which keeps
that promise and evens out the areas (Yoshizawa, Belyaev, Seidel 2004).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components as graph_components
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import spsolve

from blendsplat.heads.topology import boundary_loops, connected_components, edges

SKIN_BOX = (0.005, 0.005, 0.995, 0.745)  # u0, v0, u1, v1
_ROUND_BOXES_TOP = 0.945  # above it lies the strip of teeth
_STRETCH_ROUNDS = 8


def unwrap_head(
    vertices: np.ndarray, faces: np.ndarray, importance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """vertices [V,3], faces [F,3] -> (uvs [T,2] in [0,1], uv_faces [F,3]); v above 0.945 is left free.

    The largest piece is the skin: open at the neck, cut along the back up to the crown. Every other piece (eyeballs) is
    laid out as two discs, its front and its back. importance [V]: relative texel density wanted on the skin.
    """
    _, labels = connected_components(faces, len(vertices))
    piece = labels[faces[:, 0]]
    order = [int(label) for label in np.argsort(-np.bincount(piece))[: len(np.unique(piece))]]
    uvs: list[np.ndarray] = []
    uv_faces = np.zeros_like(faces)
    count = 0

    def put(rows: np.ndarray, flat: np.ndarray, index: np.ndarray) -> None:
        nonlocal count
        uvs.append(flat)
        uv_faces[rows] = index + count
        count += len(flat)

    skin = np.flatnonzero(piece == order[0])
    wanted = np.ones(len(vertices)) if importance is None else importance
    put(skin, *unwrap_skin(vertices, faces[skin], wanted, SKIN_BOX))
    boxes = _round_boxes(2 * (len(order) - 1))
    for label in order[1:]:
        rows = np.flatnonzero(piece == label)
        ahead = vertices[faces[rows]].mean(1)[:, 2] > vertices[np.unique(faces[rows])][:, 2].mean()
        for half, towards in ((rows[ahead], 1.0), (rows[~ahead], -1.0)):
            if len(half):
                put(half, *_flatten_half(vertices, faces[half], towards, next(boxes)))
    return np.concatenate(uvs), uv_faces


def _round_boxes(count: int) -> Iterator[tuple[float, float, float, float]]:
    """Yield square boxes (u0, v0, u1, v1) side by side between skin and teeth, in turns a large and a small one."""
    pairs = max((count + 1) // 2, 1)
    height = min(_ROUND_BOXES_TOP - SKIN_BOX[3] - 0.01, 0.99 / pairs / 1.6)
    left = 0.005
    for index in range(count):
        side = height if index % 2 == 0 else 0.55 * height
        yield (left, SKIN_BOX[3] + 0.01, left + side, SKIN_BOX[3] + 0.01 + side)
        left += side + 0.005


def _flatten_half(
    vertices: np.ndarray, faces: np.ndarray, towards: float, box: tuple[float, float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Half of a ball seen along z: distance from the middle is the angle from its pole."""
    used, index = np.unique(faces, return_inverse=True)
    points = vertices[used]
    whole = (points.max(0) + points.min(0)) / 2
    radius = (points.max(0) - points.min(0))[:2].max() / 2
    depth = points[:, 2].min() if towards > 0 else points[:, 2].max()
    offset = points - [whole[0], whole[1], depth]
    angle = np.arctan2(np.hypot(offset[:, 0], offset[:, 1]), towards * offset[:, 2] + 0.3 * radius)
    around = np.arctan2(offset[:, 1], towards * offset[:, 0])
    flat = angle[:, None] * np.stack([np.cos(around), np.sin(around)], 1)
    flat = flat / (2 * np.abs(flat).max()) + 0.5
    return flat * [box[2] - box[0], box[3] - box[1]] + [box[0], box[1]], index.reshape(-1, 3)


def unwrap_skin(
    vertices: np.ndarray, faces: np.ndarray, importance: np.ndarray, box: tuple[float, float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """One piece of skin, open at the neck: (uvs [T,2] inside the box u0, v0, u1, v1, uv_faces [F,3] for ``faces``).

    vertices [V,3], importance [V] as in unwrap_head; holes (eyes, mouth) stay holes.
    """
    seam = _back_seam(vertices, faces)
    cut_faces, origin = _cut_open(faces, seam)
    points = vertices[origin]
    loops = boundary_loops(cut_faces)
    ring = max(loops, key=lambda loop: np.isin(origin[loop], seam).sum() * len(vertices) + len(loop))
    whole = np.concatenate([cut_faces, *(_fan(loop, len(points) + i) for i, loop in enumerate(_others(loops, ring)))])
    holes = [points[loop].mean(0) for loop in _others(loops, ring)]
    points = np.concatenate([points, np.array(holes).reshape(-1, 3)])
    wanted = np.concatenate([importance[origin], np.full(len(holes), 0.05)])
    flat = _flatten(points, whole, ring, _outline(points[ring]), wanted, len(cut_faces))[: len(origin)]
    low, high = np.array(box[:2]), np.array(box[2:])
    return flat * (high - low) + low, cut_faces


def _others(loops: list[np.ndarray], ring: np.ndarray) -> list[np.ndarray]:
    return [loop for loop in loops if loop is not ring]


def _fan(loop: np.ndarray, hub: int) -> np.ndarray:
    """Triangles that close a hole with one vertex in its middle, wound like the faces around it."""
    return np.stack([np.roll(loop, -1), loop, np.full(len(loop), hub)], 1)


def _back_seam(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Vertices of a path up the back of the head, from the neck's border to the crown."""
    loops = boundary_loops(faces)
    used = np.unique(faces)
    neck = min(loops, key=lambda loop: vertices[loop, 1].mean()) if loops else used[[vertices[used, 1].argmin()]]
    size = np.ptp(vertices[used], axis=0).max()
    start = neck[np.argmin(vertices[neck, 2] / size + 2 * np.abs(vertices[neck, 0]) / size)]
    crown = used[np.argmax(vertices[used, 1] - 2 * np.abs(vertices[used, 0]))]
    pairs = edges(faces)
    # stay on the middle of the back: a path over the face or along the border costs more
    middle = vertices[pairs].mean(1)
    length = np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1)
    front = middle[:, 2] > np.median(vertices[used, 2])
    cost = length * (1 + 40 * np.abs(middle[:, 0]) / size + 100 * front) + 1e-9
    border = np.isin(pairs, np.concatenate(loops) if loops else []).sum(1)
    cost = cost + size * 100 * (border == 2) + size * ((border == 1) & ~np.isin(pairs, start).any(1))
    graph = sp.csr_matrix((cost, (pairs[:, 0], pairs[:, 1])), shape=(len(vertices), len(vertices)))
    _, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
    path = [int(crown)]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])


def _cut_open(faces: np.ndarray, seam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(faces over new vertices [F,3], the old vertex of each new one): opened along the seam's edges.

    Corners of neighbouring faces are the same new vertex unless the edge between them is cut.
    """
    pairs = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    corners = np.arange(faces.size).reshape(-1, 3)[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    turned = pairs[:, 0] > pairs[:, 1]
    pairs[turned], corners[turned] = pairs[turned][:, ::-1], corners[turned][:, ::-1]
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    pairs, corners = pairs[order], corners[order]
    cut = {tuple(sorted(pair)) for pair in zip(seam[:-1].tolist(), seam[1:].tolist(), strict=True)}
    same = (pairs[1:] == pairs[:-1]).all(1)
    same &= ~np.array([tuple(pair) in cut for pair in pairs[1:].tolist()], bool)
    rows = corners[:-1][same].ravel()
    columns = corners[1:][same].ravel()
    graph = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(faces.size, faces.size))
    count, label = graph_components(graph, directed=False)
    origin = np.zeros(count, np.int64)
    origin[label] = faces.ravel()
    return label.reshape(-1, 3).astype(np.int64), origin


def _outline(ring: np.ndarray) -> np.ndarray:
    """Places [P,2] of the border's vertices along an ellipse in the unit square, as far apart as in space."""
    steps = np.linalg.norm(np.roll(ring, -1, 0) - ring, axis=1)
    steps = np.maximum(steps, 1e-3 * steps.mean())
    along = np.concatenate([[0], np.cumsum(steps)[:-1]]) / steps.sum()
    # the middle of the front of the neck goes to the bottom of the picture
    front = along[np.argmax(ring[:, 2] - 2 * np.abs(ring[:, 0]))]
    angle = 2 * np.pi * (along - front) - np.pi / 2
    square = np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle))) ** 0.85  # a rounded square wastes less
    return 0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], 1) / square[:, None] / 2**0.075


def _flatten(
    points: np.ndarray, faces: np.ndarray, ring: np.ndarray, outline: np.ndarray, wanted: np.ndarray, real_faces: int
) -> np.ndarray:
    """Places [P,2] of all vertices: Tutte's, then with renewed weights while that evens out the areas."""
    pairs = edges(faces)
    weights = 1 / np.maximum(np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1), 1e-6)
    solid = np.linalg.norm(
        np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]]), axis=1
    )
    goal = solid * wanted[faces].mean(1)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    directed = np.concatenate([weights, weights])
    best, best_score = None, np.inf
    for _ in range(_STRETCH_ROUNDS):
        flat = _solve(len(points), both, directed, ring, outline)
        area = _signed_area(flat, faces)
        if np.sign(area[:real_faces]).sum() not in (real_faces, -real_faces):
            break  # numerically folded; an earlier round was not
        ratio = np.log(np.maximum(np.abs(area), 1e-15) / np.maximum(goal, 1e-15))[:real_faces]
        score = float(np.sqrt(np.average((ratio - ratio.mean()) ** 2, weights=goal[:real_faces])))
        if score >= best_score:
            break
        best, best_score = flat, score
        # a vertex whose surroundings came out too small pulls less, and they grow
        stretch = _per_vertex(len(points), faces, goal) / np.maximum(
            _per_vertex(len(points), faces, np.abs(area)), 1e-15
        )
        stretch = np.sqrt(stretch / np.median(stretch)).clip(0.05, 20)
        directed = directed / stretch[both[:, 1]]
    if best is None:
        raise ValueError("the skin could not be flattened; its surface is not a disc with holes")
    return best


def _solve(count: int, both: np.ndarray, weights: np.ndarray, ring: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Every free vertex as the weighted mean of its neighbours."""
    matrix = sp.csr_matrix((weights, (both[:, 0], both[:, 1])), shape=(count, count))
    matrix = sp.diags(1 / np.maximum(np.asarray(matrix.sum(1)).ravel(), 1e-300)) @ matrix
    flat = np.zeros((count, 2))
    flat[ring] = outline
    free = np.setdiff1d(np.unique(both), ring)
    system = (sp.identity(count, format="csr") - matrix)[free]
    flat[free] = spsolve(system[:, free].tocsc(), -(system[:, ring] @ outline))
    return flat


def _signed_area(flat: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = flat[faces[:, 0]], flat[faces[:, 1]], flat[faces[:, 2]]
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def _per_vertex(count: int, faces: np.ndarray, value: np.ndarray) -> np.ndarray:
    return np.bincount(faces.ravel(), np.repeat(value, 3), count) + 1e-15
