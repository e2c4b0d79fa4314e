# SPDX-License-Identifier: GPL-3.0-or-later
"""The mesh that carries Gaussians (docs/formats.md, "The carrier"): what shape keys move are vertices, what nothing
moves are attributes of its edges, one edge a Gaussian.

Two layouts: COMPACT moves what an avatar's learned blendshapes move, and FULL everything (bakes of networks, and
carriers of earlier versions). avatar_nodes reads both.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

# Of every Gaussian, on its edge (COMPACT)
TRIANGLE = "triangle"  # its row in the table of triangles; the last Gaussian's is the last row
INSIDE = ("barycentric_1", "barycentric_2")  # how much of the triangle's second and third corner
SCALE, OPACITY = "base_scale", "base_opacity"
# The table of triangles, in the first edges (COMPACT); of every Gaussian, on its first block's vertex (FULL)
CORNERS = ("corner_0", "corner_1", "corner_2")
# Of the table (COMPACT): what the triangle's first and second edge count in its tangent and its bitangent, as the
# cosine and the sine of an angle
TANGENT, BITANGENT = "tangent_angle", "bitangent_angle"
# The same of every Gaussian (FULL), as vectors
BARYCENTRIC_VECTOR, TANGENT_VECTOR, BITANGENT_VECTOR = "barycentric", "tangent_weights", "bitangent_weights"

_FIELDS = {"INT": ("value", np.int32), "FLOAT": ("value", np.float32), "FLOAT_VECTOR": ("vector", np.float32)}


@dataclass
class Gaussians:
    """positions, log_scales, colors (RGB) [N,3], quats [N,4], opacities [N] (0 to 1) in their triangles' frames; or
    what a shape key adds to them."""

    positions: np.ndarray
    log_scales: np.ndarray
    quats: np.ndarray
    opacities: np.ndarray
    colors: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    @classmethod
    def moved(cls, positions: np.ndarray, quats: np.ndarray, colors: np.ndarray) -> Gaussians:
        """What a learned blendshape adds."""
        return cls(positions, np.zeros((len(positions), 3)), quats, np.zeros(len(positions)), colors)


@dataclass
class Places:
    """Where Gaussians sit on the head: its vertices corners [N,3], barycentrics [N,3], and how much the triangle's
    first and second edge count in its tangent and bitangent [N,2], of length 1."""

    corners: np.ndarray
    barycentrics: np.ndarray
    tangents: np.ndarray
    bitangents: np.ndarray


@dataclass(frozen=True)
class Compact:
    """Three blocks of N vertices (position, quaternion xyz, colour) and a third of one, which holds quaternions' w:
    first all x, then all y, then all z. Its last two numbers are free."""

    name: str = "compact"

    def vertices(self, count: int) -> int:
        return 3 * count + thirds(count)

    def join(self, g: Gaussians) -> np.ndarray:
        """The vertices [V,3]; log-scales and opacities are not in them."""
        count = len(g)
        last = np.zeros((3, thirds(count)), np.float32)
        last.reshape(-1)[:count] = g.quats[:, 0]
        return np.concatenate([g.positions, g.quats[:, 1:], g.colors, last.T]).astype(np.float32)

    def split(self, vertices: np.ndarray) -> Gaussians:
        """What ``join`` took, log-scales and opacities as zeros."""
        count = (3 * len(vertices) - 2) // 10
        positions, xyz, colors = vertices[: 3 * count].reshape(3, count, 3)
        w = vertices[3 * count :].T.reshape(-1)[:count]
        return Gaussians.moved(positions, np.concatenate([w[:, None], xyz], 1), colors)

    def free(self, vertices: int) -> tuple[tuple[int, int], ...]:
        """The two coordinates (vertex, axis) that nothing reads."""
        third = thirds((3 * vertices - 2) // 10)
        return tuple((vertices - third + place % third, place // third) for place in (3 * third - 2, 3 * third - 1))


@dataclass(frozen=True)
class Full:
    """Five blocks of N vertices: position, log-scale, quaternion xyz, (w, opacity, free), colour."""

    name: str = "full"

    def vertices(self, count: int) -> int:
        return 5 * count

    def join(self, g: Gaussians) -> np.ndarray:
        """The vertices [V,3]."""
        rest = np.stack([g.quats[:, 0], g.opacities, np.zeros(len(g))], 1)
        return np.concatenate([g.positions, g.log_scales, g.quats[:, 1:], rest, g.colors]).astype(np.float32)

    def split(self, vertices: np.ndarray) -> Gaussians:
        """What ``join`` took."""
        positions, log_scales, xyz, rest, colors = vertices.reshape(5, -1, 3)
        return Gaussians(positions, log_scales, np.concatenate([rest[:, :1], xyz], 1), rest[:, 1], colors)

    def free(self, vertices: int) -> tuple[tuple[int, int], ...]:
        """Two coordinates (vertex, axis) that nothing reads; of a single Gaussian there is one."""
        count = vertices // 5
        return ((3 * count, 2), (4 * count - 1, 2)) if count > 1 else ()


COMPACT, FULL = Compact(), Full()
Layout = Compact | Full


def thirds(count: int) -> int:
    """The vertices that hold ``count`` numbers and two more."""
    return (count + 4) // 3


def layout_of(mesh: bpy.types.Mesh) -> Layout:
    """A carrier's layout: COMPACT has an edge for every Gaussian, FULL has none."""
    return COMPACT if len(mesh.edges) else FULL


def count_of(mesh: bpy.types.Mesh) -> int:
    """A carrier's Gaussians."""
    return len(mesh.edges) or len(mesh.vertices) // 5


def new_mesh(name: str, layout: Layout, base: Gaussians, places: Places, link: int = 0) -> bpy.types.Mesh:
    """A carrier. link: the Gaussian that is drawn with an edge to the next one (COMPACT; avatar_nodes says why)."""
    mesh = bpy.data.meshes.new(name)
    vertices = layout.join(base)
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", vertices.ravel())
    if isinstance(layout, Full):
        _add_full(mesh, places)
    else:
        _add_compact(mesh, base, places, link)
    for name in (".select_vert", ".select_edge"):  # that everything is selected: a byte each, in the file as well
        if name in mesh.attributes:
            mesh.attributes.remove(mesh.attributes[name])
    mesh.update()
    return mesh


def places_of(mesh: bpy.types.Mesh) -> Places:
    """Where a carrier's Gaussians sit. Raises KeyError where an attribute was removed."""
    count = count_of(mesh)
    if layout_of(mesh) == FULL:
        vectors = [
            _read(mesh, name, "FLOAT_VECTOR")[:count] for name in (BARYCENTRIC_VECTOR, TANGENT_VECTOR, BITANGENT_VECTOR)
        ]
        corners = np.stack([_read(mesh, name, "INT")[:count] for name in CORNERS], 1)
        return Places(corners, vectors[0], vectors[1][:, :2], vectors[2][:, :2])
    row = _read(mesh, TRIANGLE, "INT")
    second, third = (_read(mesh, name, "FLOAT") for name in INSIDE)
    corners = np.stack([_read(mesh, name, "INT")[row] for name in CORNERS], 1)
    angles = [_read(mesh, name, "FLOAT")[row] for name in (TANGENT, BITANGENT)]
    weights = [np.stack([np.cos(angle), np.sin(angle)], 1) for angle in angles]
    return Places(corners, np.stack([1 - second - third, second, third], 1), *weights)


def _add_compact(mesh: bpy.types.Mesh, base: Gaussians, places: Places, link: int) -> None:
    count = len(base)
    mesh.edges.add(count)
    ends = np.stack([np.arange(count), np.arange(1, count + 1)], 1).astype(np.int32)
    ends[-1] = link, len(mesh.vertices) - 1
    mesh.edges.foreach_set("vertices", ends.ravel())
    first, row = _triangles(places)
    _store(mesh, TRIANGLE, "INT", row)
    for index, name in enumerate(INSIDE):
        _store(mesh, name, "FLOAT", places.barycentrics[:, index + 1])
    _store(mesh, SCALE, "FLOAT_VECTOR", np.exp(base.log_scales))
    _store(mesh, OPACITY, "FLOAT", base.opacities)
    for name, corner in zip(CORNERS, places.corners.T, strict=True):
        _store(mesh, name, "INT", corner[first])
    for name, weights in ((TANGENT, places.tangents), (BITANGENT, places.bitangents)):
        _store(mesh, name, "FLOAT", np.arctan2(weights[first, 1], weights[first, 0]))


def _triangles(places: Places) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian [T] of every triangle, and every Gaussian's row [N] among them; the last one's is the last."""
    whole = np.concatenate([places.corners, places.tangents, places.bitangents], 1)
    _, first, row = np.unique(whole, axis=0, return_index=True, return_inverse=True)
    row = row.reshape(-1)
    order = np.arange(len(first))
    order[[row[-1], -1]] = order[[-1, row[-1]]]
    return first[order], order[row]


def _add_full(mesh: bpy.types.Mesh, places: Places) -> None:
    for name, values in zip(CORNERS, places.corners.T, strict=True):
        _store(mesh, name, "INT", values, "POINT")
    _store(mesh, BARYCENTRIC_VECTOR, "FLOAT_VECTOR", places.barycentrics, "POINT")
    for name, pair in ((TANGENT_VECTOR, places.tangents), (BITANGENT_VECTOR, places.bitangents)):
        _store(mesh, name, "FLOAT_VECTOR", np.pad(pair, ((0, 0), (0, 1))), "POINT")


def _store(mesh: bpy.types.Mesh, name: str, kind: str, values: np.ndarray, domain: str = "EDGE") -> None:
    """For the first elements of the domain (the others stay zero)."""
    attribute = mesh.attributes.new(name, kind, domain)
    what, dtype = _FIELDS[kind]
    whole = np.zeros((len(attribute.data), *values.shape[1:]), dtype)
    whole[: len(values)] = values
    attribute.data.foreach_set(what, whole.ravel())


def _read(mesh: bpy.types.Mesh, name: str, kind: str) -> np.ndarray:
    attribute = mesh.attributes[name]
    what, dtype = _FIELDS[kind]
    width = 3 if kind == "FLOAT_VECTOR" else 1
    values = np.empty(len(attribute.data) * width, dtype)
    attribute.data.foreach_get(what, values)
    return values.reshape(-1, width) if width > 1 else values
