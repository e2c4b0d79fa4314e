# SPDX-License-Identifier: Apache-2.0
"""Collects the head's parts into one mesh: vertices with chart coordinates, faces, UV islands.

A part is one or more sheets of quads. Every sheet gets a rectangle of the UV square for itself, so islands cannot
overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from blendsplat.heads.builtin.curves import Array

PARTS = (
    "skin", "lid_rims", "mouth", "left_eyeball", "right_eyeball", "left_ear", "right_ear", "teeth_upper",
    "teeth_lower", "tongue",
)  # fmt: skip


@dataclass(frozen=True)
class Rect:
    """An island's place in the UV square."""

    left: float
    bottom: float
    right: float
    top: float

    def place(self, s: Array, t: Array) -> Array:
        """(s, t) in [0,1]^2 -> uv [...,2]."""
        s, t = np.broadcast_arrays(s, t)
        return np.stack([self.left + (self.right - self.left) * s, self.bottom + (self.top - self.bottom) * t], -1)


MARGIN = 0.0035  # half a texel of a 128 raster, on each side of an island


def _rect(left: float, bottom: float, right: float, top: float) -> Rect:
    return Rect(left + MARGIN, bottom + MARGIN, right - MARGIN, top - MARGIN)


ISLANDS = {
    "skin": _rect(0, 0.25, 1, 1),
    "left_eyeball": _rect(0.00, 0.10, 0.15, 0.25),
    "right_eyeball": _rect(0.15, 0.10, 0.30, 0.25),
    "left_lid": _rect(0.00, 0.05, 0.30, 0.10),
    "right_lid": _rect(0.00, 0.00, 0.30, 0.05),
    "left_ear": _rect(0.30, 0, 0.42, 0.25),
    "right_ear": _rect(0.42, 0, 0.54, 0.25),
    "mouth": _rect(0.54, 0.125, 0.87, 0.25),
    "teeth_upper": _rect(0.54, 0.0625, 0.87, 0.125),
    "teeth_lower": _rect(0.54, 0, 0.87, 0.0625),
    "tongue": _rect(0.87, 0, 1.0, 0.25),
}


@dataclass(frozen=True)
class Mesh:
    """The finished neutral mesh, in millimetres."""

    points: Array  # [V,3]
    height: Array  # [V] the skull's row coordinate; on a slit, the lower side lies 0.01 below
    angle: Array  # [V] signed degrees round the head
    depth: Array  # [V] how far inside the mouth: 0 on the skin, 1 at the throat
    part: np.ndarray  # [V] index into PARTS
    faces: np.ndarray  # [F,3]
    uvs: Array  # [T,2]
    uv_faces: np.ndarray  # [F,3]
    named: dict[str, np.ndarray]  # rows, rings and slits, by name

    def of(self, *parts: str) -> np.ndarray:
        """Mask [V] of the vertices of the named parts."""
        return np.isin(self.part, [PARTS.index(name) for name in parts])


@dataclass
class MeshBuilder:
    """Grows a Mesh part by part; indices are final as soon as they are given out."""

    _points: list[Array] = field(default_factory=list)
    _height: list[Array] = field(default_factory=list)
    _angle: list[Array] = field(default_factory=list)
    _depth: list[Array] = field(default_factory=list)
    _part: list[np.ndarray] = field(default_factory=list)
    _faces: list[np.ndarray] = field(default_factory=list)
    _uvs: list[Array] = field(default_factory=list)
    _uv_faces: list[np.ndarray] = field(default_factory=list)
    named: dict[str, np.ndarray] = field(default_factory=dict)
    _vertex_count: int = 0
    _uv_count: int = 0

    def vertices(
        self, points: Array, part: str, height: Array | float, angle: Array | float, depth: Array | float = 0.0
    ) -> np.ndarray:
        """Add points [...,3] with their chart; returns their indices [...]."""
        shape = points.shape[:-1]
        count = int(np.prod(shape))
        self._points.append(points.reshape(-1, 3))
        for store, value in ((self._height, height), (self._angle, angle), (self._depth, depth)):
            store.append(np.broadcast_to(value, shape).reshape(-1).astype(float))
        self._part.append(np.full(count, PARTS.index(part)))
        self._vertex_count += count
        return np.arange(self._vertex_count - count, self._vertex_count).reshape(shape)

    def sheet(
        self,
        rows: np.ndarray,
        below: np.ndarray | None,
        s: Array,
        t: Array,
        island: str,
        inside_out: bool = False,
        right_side: np.ndarray | None = None,
    ) -> None:
        """Quads between rows [R,C], the islands' coordinates s, t [R,C] beside them.

        below [R,C]: the vertices a row shows to the row under it, where a slit splits the row (else the same).
        Counter-clockwise where rows go down and columns go right; ``inside_out`` turns that round. Quads on the
        person's right (right_side [C-1]; by default the first half of the columns) are cut along the other diagonal,
        so that the mesh is symmetric.
        """
        upper = (rows if below is None else below)[:-1]
        lower = rows[1:]
        uv = self._add_uvs(s, t, island, flip=inside_out)
        count = rows.shape[1] - 1
        mirrored = np.arange(count) < count // 2 if right_side is None else right_side
        for column in range(count):
            corners = [(upper, 0, 0), (lower, 1, 0), (lower, 1, 1), (upper, 0, 1)]
            vertex = [grid[:, column + right] for grid, _, right in corners]
            texture = [uv[down : down + len(lower), column + right] for _, down, right in corners]
            pairs = ((0, 1, 3), (1, 2, 3)) if mirrored[column] else ((0, 1, 2), (0, 2, 3))
            for a, b, c in pairs:
                self._add_faces([vertex[a], vertex[b], vertex[c]], [texture[a], texture[b], texture[c]], inside_out)

    def fan(
        self,
        centre: int,
        ring: np.ndarray,
        centre_st: Array,
        ring_s: Array,
        ring_t: Array,
        island: str,
        inside_out: bool = False,
    ) -> None:
        """Triangles from a centre to consecutive ring vertices [C]; centre_st [2], or [C-1,2]: one per triangle."""
        uv_ring = self._add_uvs(ring_s, ring_t, island, flip=inside_out)
        centres = np.broadcast_to(centre_st, (len(ring) - 1, 2))
        uv_centre = self._add_uvs(centres[:, 0], centres[:, 1], island, flip=inside_out)
        self._add_faces(
            [np.full(len(ring) - 1, centre), ring[:-1], ring[1:]], [uv_centre, uv_ring[:-1], uv_ring[1:]], inside_out
        )

    def finish(self) -> Mesh:
        """The mesh of everything added, each island turned so that its UV triangles are counter-clockwise too."""
        return Mesh(
            points=np.concatenate(self._points),
            height=np.concatenate(self._height),
            angle=np.concatenate(self._angle),
            depth=np.concatenate(self._depth),
            part=np.concatenate(self._part),
            faces=np.concatenate(self._faces),
            uvs=np.concatenate(self._uvs),
            uv_faces=np.concatenate(self._uv_faces),
            named=dict(self.named),
        )

    def _add_uvs(self, s: Array, t: Array, island: str, flip: bool) -> np.ndarray:
        s, t = np.broadcast_arrays(s, t)
        uv = ISLANDS[island].place(1 - s if flip else s, t)
        self._uvs.append(uv.reshape(-1, 2))
        self._uv_count += uv[..., 0].size
        return np.arange(self._uv_count - uv[..., 0].size, self._uv_count).reshape(uv.shape[:-1])

    def _add_faces(self, vertices: list[np.ndarray], uvs: list[np.ndarray], inside_out: bool) -> None:
        order = (0, 2, 1) if inside_out else (0, 1, 2)
        self._faces.append(np.stack([vertices[k].reshape(-1) for k in order], -1))
        self._uv_faces.append(np.stack([uvs[k].reshape(-1) for k in order], -1))


def disc_to_square(radius: Array, angle: Array) -> tuple[Array, Array]:
    """Polar coordinates (radius in [0,1], radians) -> (s, t) filling the whole unit square."""
    stretch = 0.5 * radius / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle)))
    return 0.5 + stretch * np.cos(angle), 0.5 + stretch * np.sin(angle)
