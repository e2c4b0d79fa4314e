# SPDX-License-Identifier: Apache-2.0
"""Values on a surface, continued from where they are known to where they are not: as smooth as can be, and where the
other side of a symmetric surface is known, with that side's detail.

The unknown values minimise the sum over neighbours of (x_i - x_j - g_ij)^2 / distance, where g is the difference of the
two on the other side, where that is known, and zero elsewhere: Poisson image editing (Perez et al. 2003) on points. So
the other side's features come over and its brightness does not.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

_NEIGHBOURS = 8
_NEAREST = 1e-4  # metres: closer neighbours count no more than this
_MIRRORED = 0.008  # metres between a place's mirror image and the nearest point, up to which that is its other side
_HOLD = 1e-6  # pulls what is connected to nothing known towards zero, so that there is a solution


def continued(
    points: np.ndarray, normals: np.ndarray, values: np.ndarray, known: np.ndarray, mirrored: int = 0
) -> np.ndarray:
    """values [P,C] with those that are not ``known`` [P] replaced; of points [P,3] metres with normals [P,3].

    mirrored: so many of the first channels take their detail from the other side (x to -x). Points whose normals point
    away from each other are no neighbours: lips touch and are two surfaces.
    """
    if known.all() or not known.any():
        return values.copy()
    tree = cKDTree(points)
    one, other, weight = _edges(tree, points, normals)
    unknown = ~known
    place = np.cumsum(unknown) - 1
    from_unknown = unknown[one]
    one, other, weight = one[from_unknown], other[from_unknown], weight[from_unknown]
    inside = unknown[other]
    count = int(unknown.sum())
    diagonal = np.bincount(place[one], weight, count) + _HOLD
    links = sparse.coo_matrix((weight[inside], (place[one[inside]], place[other[inside]])), (count, count))
    wanted = np.zeros((count, values.shape[1]))
    np.add.at(wanted, place[one[~inside]], weight[~inside, None] * values[other[~inside]])
    if mirrored:
        steps = _mirrored_steps(tree, points, values[:, :mirrored], known, one, other)
        np.add.at(wanted[:, :mirrored], place[one], weight[:, None] * steps)
    filled = values.astype(np.float64)
    filled[unknown] = splu((sparse.diags(diagonal) - links).tocsc()).solve(wanted)
    return filled


def _edges(tree: cKDTree, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(one [E], other [E], weight [E]): every point's nearest that look the same way, in both directions alike."""
    neighbours = min(_NEIGHBOURS, len(points) - 1)
    distance, nearest = tree.query(points, k=neighbours + 1)
    one = np.repeat(np.arange(len(points)), neighbours)
    other, distance = nearest[:, 1:].ravel(), distance[:, 1:].ravel()
    same_way = (normals[one] * normals[other]).sum(1) > 0
    pairs = np.stack([one, other], 1)[same_way]
    both = np.concatenate([pairs, pairs[:, ::-1]])
    twice = np.concatenate([distance[same_way]] * 2)
    unique, first = np.unique(both[:, 0] * len(points) + both[:, 1], return_index=True)
    del unique
    return both[first, 0], both[first, 1], 1 / np.maximum(twice[first], _NEAREST)


def _mirrored_steps(
    tree: cKDTree, points: np.ndarray, values: np.ndarray, known: np.ndarray, one: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """[E,C]: what the value differs by along each edge on the other side; zero where that is not known."""
    distance, mirror = tree.query(points * [-1, 1, 1])
    there = (distance < _MIRRORED) & known[mirror]
    steps = values[mirror[one]] - values[mirror[other]]
    return np.where((there[one] & there[other])[:, None], steps, 0.0)
