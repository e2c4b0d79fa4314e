# SPDX-License-Identifier: Apache-2.0
"""What a mesh's faces say of its vertices: neighbours, Laplacian, pieces, boundary loops, normals.

Pure functions of the face array, shared by the head loaders, the tracker's smoothness terms and the avatars.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components as _components
from torch import Tensor


def _faces_array(faces: Tensor | np.ndarray) -> np.ndarray:
    return np.asarray(faces.detach().cpu() if isinstance(faces, Tensor) else faces, dtype=np.int64).reshape(-1, 3)


def half_edges(faces: Tensor | np.ndarray) -> np.ndarray:
    """The directed edges [3F,2] of triangles [F,3], in the order 01, 12, 20 of each face."""
    array = _faces_array(faces)
    return array[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)


def edges(faces: Tensor | np.ndarray) -> np.ndarray:
    """The undirected edges [E,2], each once, smaller index first, sorted."""
    return np.unique(np.sort(half_edges(faces), axis=1), axis=0)


def vertex_adjacency(faces: Tensor | np.ndarray, vertex_count: int) -> sp.csr_matrix:
    """Symmetric [V,V] matrix of ones where two vertices share an edge."""
    pairs = edges(faces)
    rows = np.concatenate([pairs[:, 0], pairs[:, 1]])
    columns = np.concatenate([pairs[:, 1], pairs[:, 0]])
    return sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(vertex_count, vertex_count))


def laplacian(faces: Tensor | np.ndarray, vertex_count: int) -> sp.csr_matrix:
    """Uniform Laplacian [V,V]: a vertex minus the mean of its neighbours. Rows of isolated vertices are zero."""
    adjacency = vertex_adjacency(faces, vertex_count)
    degree = np.asarray(adjacency.sum(1)).ravel()
    inverse = np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0)
    return (sp.diags((degree > 0).astype(np.float32)) - sp.diags(inverse) @ adjacency).astype(np.float32).tocsr()


def connected_components(faces: Tensor | np.ndarray, vertex_count: int) -> tuple[int, np.ndarray]:
    """(count, label of each vertex [V]). A vertex without faces is a component of its own."""
    count, labels = _components(vertex_adjacency(faces, vertex_count), directed=False)
    return int(count), labels


def boundary_loops(faces: Tensor | np.ndarray) -> list[np.ndarray]:
    """Ordered vertex loops of the mesh's borders, longest first, in the direction of their faces' edges.

    A vertex where two borders touch splits them by the first way found; open chains cannot occur in a mesh whose
    faces all wind the same way, and are dropped if they do.
    """
    directed = half_edges(faces)
    key = directed[:, 0] * (directed.max(initial=0) + 1) + directed[:, 1]
    reverse = directed[:, 1] * (directed.max(initial=0) + 1) + directed[:, 0]
    border = directed[~np.isin(key, reverse)]
    following: dict[int, list[int]] = {}
    for start, end in border.tolist():
        following.setdefault(start, []).append(end)
    loops = []
    while following:
        start = next(iter(following))
        loop = [start]
        while loop[-1] in following:
            ends = following[loop[-1]]
            end = ends.pop()
            if not ends:
                del following[loop[-1]]
            if end == start:
                loops.append(np.array(loop, dtype=np.int64))
                break
            loop.append(end)
    return sorted(loops, key=len, reverse=True)


def triangulate_quads(quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quads [Q,4] (last corner -1 for a triangle) -> (triangles [F,3], the quad of each triangle [F])."""
    second = quads[:, 3] >= 0
    triangles = np.concatenate([quads[:, :3], quads[second][:, [0, 2, 3]]])
    source = np.concatenate([np.arange(len(quads)), np.flatnonzero(second)])
    order = np.argsort(source, kind="stable")
    return triangles[order].astype(np.int64), source[order]
