# SPDX-License-Identifier: Apache-2.0
"""The UV square as a list of texels that know where on the resting head they lie; noise over the head; a canvas.

Lengths are millimetres. Everything is float32: people are painted by the thousand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from blendsplat.heads.human import human_head
from blendsplat.heads.human.anatomy import PARTS, Rim, anatomy
from blendsplat.heads.human.look import RGB, Look
from blendsplat.heads.uv import texture_texels

Array = NDArray[Any]
_GRID = 48  # cells of the noise's cube, which repeats
_PLANE = 256  # cells of the plane noise, which repeats too


def fade(start: ArrayLike, end: ArrayLike, x: ArrayLike) -> Array:
    """Smoothstep from 0 at ``start`` to 1 at ``end`` (start > end falls instead)."""
    low = np.asarray(start, np.float32)
    t = np.clip((np.asarray(x, np.float32) - low) / (np.asarray(end, np.float32) - low), 0, 1)
    return t * t * (3 - 2 * t)


def bump(x: ArrayLike, width: ArrayLike) -> Array:
    """exp(-(x / width)^2): 1 at zero."""
    return np.exp(-np.square(np.asarray(x, np.float32) / np.asarray(width, np.float32)))


def spot(x: Array, y: Array, centre: tuple[float, float], radii: tuple[float, float]) -> Array:
    """A two-dimensional bump around ``centre``."""
    dx, dy = (x - np.float32(centre[0])) / np.float32(radii[0]), (y - np.float32(centre[1])) / np.float32(radii[1])
    return np.exp(-(dx * dx + dy * dy))


@dataclass(frozen=True)
class Texels:
    """N texels of one or more parts of the head."""

    point: Array  # [N,3] on the resting head
    normal: Array  # [N,3]
    uv: Array  # [N,2]
    part: np.ndarray  # [N] index into PARTS
    hollow: Array  # [N], see Anatomy
    crease: Array
    lid_edge: Array
    ear: Array  # [N] 0..1
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def x(self) -> Array:
        """Towards the person's left."""
        return self.point[:, 0]

    @property
    def y(self) -> Array:
        """Upwards from the eyes."""
        return self.point[:, 1]

    @property
    def z(self) -> Array:
        """Forwards."""
        return self.point[:, 2]

    @cached_property
    def ax(self) -> Array:
        """Distance from the plane of symmetry."""
        return np.abs(self.point[:, 0])

    @cached_property
    def angle(self) -> Array:
        """Degrees round the head from straight ahead, 0..180."""
        return np.degrees(np.arctan2(self.ax, self.z + np.float32(8))).astype(np.float32)

    def of(self, *names: str) -> np.ndarray:
        """Mask of the texels of the named parts."""
        return np.isin(self.part, [PARTS.index(name) for name in names])

    def at(self, chosen: np.ndarray) -> Texels:
        """Only the chosen texels (a mask, or rows)."""
        arrays = (self.point, self.normal, self.uv, self.part, self.hollow, self.crease, self.lid_edge, self.ear)
        return Texels(*(array[chosen] for array in arrays))

    def keep(self, key: Any, make: Any) -> Any:
        """``make(self)``, computed once for these texels: for what no look changes."""
        if key not in self._kept:
            self._kept[key] = make(self)
        return self._kept[key]

    def lattice(self, spacing: float) -> torch.Tensor:
        """Coordinates [1,N,1,1,3] of the texels in the noise's cube, with the steps smoothed that lie between its
        points, so that no lattice shows."""
        return self.keep(("lattice", spacing), lambda at: _lattice(at.point, spacing))


@dataclass(frozen=True)
class Sheet:
    """A square texture: its covered texels by group, and which of them each of its texels shows."""

    size: int
    groups: dict[str, tuple[np.ndarray, Texels]]  # name -> (rows among the covered texels, the texels)
    shown: np.ndarray  # [size * size] row of the nearest covered texel

    @property
    def count(self) -> int:
        """How many texels are covered."""
        return sum(len(rows) for rows, _ in self.groups.values())


GROUPS = {
    "skin": ("skin", "left_pocket", "right_pocket"),
    "eyes": ("left_eyeball", "right_eyeball"),
    "mouth": ("mouth", "teeth_upper", "teeth_lower", "tongue"),
}


@lru_cache(maxsize=3)
def sheet(size: int) -> Sheet:
    """The texels of a size x size texture (v = 1 in the first row) of the head human."""
    head, body = human_head(), anatomy()
    pixels, face, weights = texture_texels(head.uvs, head.uv_faces, size)
    corners = head.faces.numpy()[face]

    def between(values: np.ndarray) -> Array:
        return np.einsum("nk,nk...->n...", weights, values.astype(np.float32)[corners])

    ear = np.zeros(head.vertex_count)
    ear[np.concatenate([head.regions["left_ear"], head.regions["right_ear"]])] = 1
    uv = np.stack([pixels % size + 0.5, size - pixels // size - 0.5], 1).astype(np.float32) / size
    whole = Texels(
        between(body.points), between(body.normals), uv, body.part[face], between(body.hollow), between(body.crease),
        between(body.lid_edge), between(ear),
    )  # fmt: skip
    rows_of = {name: np.flatnonzero(whole.of(*parts)) for name, parts in GROUPS.items()}
    row = np.full(size * size, -1, np.int64)
    row[pixels] = np.arange(len(pixels))
    empty = (row < 0).reshape(size, size)
    near = distance_transform_edt(empty, return_distances=False, return_indices=True)
    shown = row.reshape(size, size)[near[0], near[1]].ravel()
    return Sheet(size, {name: (rows, whole.at(rows)) for name, rows in rows_of.items()}, shown)


def _lattice(point: Array, spacing: float) -> torch.Tensor:
    # turned, for each spacing otherwise: rows of the lattice would show where they run along the face
    turn = Rotation.from_rotvec(np.array((0.6, 1.1, 0.8)) + spacing * np.array((0.37, 0.21, 0.13))).as_matrix()
    scaled = point @ (turn / spacing).astype(np.float32).T + np.float32(37.7 / spacing)
    cell = np.floor(scaled)
    t = scaled - cell
    t = t * t * (3 - 2 * t)
    place = np.mod(cell, _GRID) + t  # 0.._GRID: the cube has one more layer, which repeats the first
    return torch.from_numpy((place * np.float32(2 / _GRID) - 1).astype(np.float32))[None, :, None, None, :]


class Noise:
    """Smooth random fields over the head, values about 0..1, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed % 2**63)
        self._plane = self._rng.random((_PLANE, _PLANE), np.float32)
        self._cube = torch.from_numpy(self._wrapped(2))
        self.rng = np.random.default_rng([seed % 2**63, 1])

    def _wrapped(self, channels: int) -> np.ndarray:
        cube = self._rng.random((channels, _GRID, _GRID, _GRID), np.float32)
        return np.pad(cube, ((0, 0), (0, 1), (0, 1), (0, 1)), mode="wrap")[None]

    def solid(self, at: Texels, spacing: float) -> Array:
        """[2,N] two fields whose features are about ``spacing`` wide."""
        values = torch.nn.functional.grid_sample(
            self._cube, at.lattice(spacing), mode="bilinear", padding_mode="border", align_corners=True
        )
        return values[0, :, :, 0, 0].numpy()

    def plane(self, u: Array, v: Array, shift: float = 0.0) -> Array:
        """[N] a field of features about 1 wide over coordinates u, v [N]."""
        u, v = u + np.float32(11.3 + shift), v + np.float32(5.7 + 2.3 * shift)
        i, j = np.floor(u), np.floor(v)
        s, t = u - i, v - j
        s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
        i, j = i.astype(np.int32) % _PLANE, j.astype(np.int32) % _PLANE
        i1, j1 = (i + 1) % _PLANE, (j + 1) % _PLANE
        low = self._plane[i, j] * (1 - t) + self._plane[i, j1] * t
        high = self._plane[i1, j] * (1 - t) + self._plane[i1, j1] * t
        return low * (1 - s) + high * s


class Canvas:
    """Texels with their colours so far, sRGB."""

    def __init__(self, at: Texels, look: Look, noise: Noise, colour: Array | None = None) -> None:
        self.at, self.look, self.noise = at, look, noise
        self.colour = np.tile(np.array(look.skin, np.float32), (len(at.part), 1)) if colour is None else colour

    def over(self, mask: Array, colour: RGB | Array) -> None:
        """Blend a colour over what is there."""
        self.colour += np.clip(mask, 0, 1)[:, None] * (np.asarray(colour, np.float32) - self.colour)

    def times(self, mask: Array, factor: RGB | Array) -> None:
        """Multiply what is there by a factor where the mask is 1."""
        self.colour *= 1 + np.clip(mask, 0, 1)[:, None] * (np.asarray(factor, np.float32) - 1)

    def part(self, rows: np.ndarray, name: str) -> Canvas:
        """A canvas of some rows of this one; ``merge`` brings it back."""
        at = self.at.keep(("part", name), lambda whole: whole.at(rows))
        return Canvas(at, self.look, self.noise, self.colour[rows])

    def merge(self, rows: np.ndarray, other: Canvas) -> None:
        """Take over what was painted on a part."""
        self.colour[rows] = other.colour


@dataclass(frozen=True)
class AtRim:
    """Where texels near an eye lie relative to the rim of its lids."""

    rows: np.ndarray  # [K] among the texels
    distance: Array  # [K] from the rim: > 0 on the lids' outer skin, < 0 on the edge and behind it
    along: Array  # [K] 0 at the inner corner, 1 at the outer
    upper: np.ndarray  # [K] bool
    run: Array  # [K] mm along the rim from the inner corner


def near_rim(at: Texels, rim: Rim, reach: float = 22.0) -> AtRim:
    """The texels within ``reach`` of an eye's rim."""
    close = (at.x * rim.side > 0) & (at.z > rim.centre[2] - 8) & at.of("skin", "left_pocket", "right_pocket")
    candidates = np.flatnonzero(close)
    distance, nearest = cKDTree(rim.points).query(at.point[candidates], distance_upper_bound=reach)
    found = np.isfinite(distance)
    rows, distance, spot_ = candidates[found], distance[found].astype(np.float32), rim.points[nearest[found]]
    edge = at.lid_edge[rows] > 0
    pocket = ~at.of("skin")[rows]
    signed = np.where(pocket | (edge & (distance < 8)), -distance, distance).astype(np.float32)
    chord = rim.outer - rim.inner
    place = (spot_ - rim.inner) @ chord / (chord @ chord)
    upper = (spot_[:, 1] - rim.inner[1] - place * chord[1]) > 0
    far = at.point[rows] - spot_
    corner = (place < 0.04) | (place > 0.97)
    upper = np.where(corner, far[:, 1] > -0.3, upper)
    along = np.clip(place, 0, 1).astype(np.float32)
    return AtRim(rows, signed, along, upper, (along * np.linalg.norm(chord)).astype(np.float32))
