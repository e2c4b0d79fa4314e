# SPDX-License-Identifier: Apache-2.0
"""The UV square as a list of texels: where each lies on the head; and the noise that colours are broken with."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from blendsplat.heads.builtin.curves import Array
from blendsplat.heads.builtin.mesh import PARTS
from blendsplat.heads.builtin.skin import neutral_mesh
from blendsplat.heads.uv import texture_texels


@dataclass(frozen=True)
class Texels:
    """N covered texels of a square texture."""

    size: int
    pixels: np.ndarray  # [N] flat index into the texture, first row at v = 1
    x: Array
    ax: Array
    y: Array
    z: Array
    height: Array
    angle: Array  # signed degrees
    depth: Array
    part: np.ndarray  # [N] index into PARTS

    def subset(self, *names: str) -> Texels:
        """Only the texels of the named parts."""
        mask = self.of(*names)
        return replace(self, **{f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name != "size"})

    def of(self, *names: str) -> np.ndarray:
        """Mask of the texels of the named parts."""
        return np.isin(self.part, [PARTS.index(name) for name in names])

    def image(self, values: Array) -> np.ndarray:
        """Values [N,C] -> float32 image [size,size,C]; texels between islands repeat their nearest neighbour."""
        image = np.zeros((self.size * self.size, values.shape[1]), np.float32)
        image[self.pixels] = values
        empty = np.ones(self.size * self.size, bool)
        empty[self.pixels] = False
        nearest = distance_transform_edt(
            empty.reshape(self.size, self.size), return_distances=False, return_indices=True
        )
        return image.reshape(self.size, self.size, -1)[nearest[0], nearest[1]]


@lru_cache(maxsize=2)
def texels(size: int) -> Texels:
    """The texels of a size x size texture of the built-in head."""
    mesh = neutral_mesh()
    uv_faces = torch.from_numpy(mesh.uv_faces)
    pixels, face, weights = texture_texels(torch.from_numpy(mesh.uvs), uv_faces, size)
    corners, weights = mesh.faces[face], weights.astype(float)

    def at(values: Array) -> Array:
        return np.einsum("nk,nk...->n...", weights, values[corners])

    x, y, z = at(mesh.points).T
    # Columns of the last quad behind the head run from +175 to -180 degrees: take the corner that does not jump.
    angles = mesh.angle[corners]
    angles = np.where((angles == -180) & (angles.max(1, keepdims=True) > 90), 180.0, angles)
    return Texels(
        size=size, pixels=pixels, x=x, ax=np.abs(x), y=y, z=z, height=at(mesh.height), angle=(weights * angles).sum(1),
        depth=at(mesh.depth), part=mesh.part[corners].max(1),
    )  # fmt: skip


class Noise:
    """Smooth random fields on the plane, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._grid = np.random.default_rng(seed).random((256, 256)).astype(np.float32)

    def __call__(self, u: Array, v: Array, spacing: float, stretch: float = 1.0) -> Array:
        """Values about 0..1; u, v in mm; features about ``spacing`` wide, and ``stretch`` times as long along v."""
        # An odd offset for every spacing, so that octaves do not line up.
        shift = 37.7 / spacing
        coordinates = np.stack([u / spacing + shift, v / (spacing * stretch) + 2.3 * shift])
        return _smooth_lookup(self._grid, coordinates)


def _smooth_lookup(grid: np.ndarray, coordinates: Array) -> Array:
    """A periodic grid between its points, with the steps smoothed so that no lattice shows."""
    low = np.floor(coordinates)
    t = (coordinates - low).astype(np.float32)
    t = t * t * (3 - 2 * t)
    i, j = low.astype(np.int64) % len(grid)
    i1, j1 = (i + 1) % len(grid), (j + 1) % len(grid)
    near = grid[i, j] * (1 - t[1]) + grid[i, j1] * t[1]
    far = grid[i1, j] * (1 - t[1]) + grid[i1, j1] * t[1]
    return near * (1 - t[0]) + far * t[0]
