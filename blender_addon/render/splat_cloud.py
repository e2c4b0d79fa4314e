# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaussians on the graphics card: one texel each in textures, one quad each in a vertex buffer, and their order."""

from __future__ import annotations

import gpu
import numpy as np

from .gather import Gaussians
from .splat_shader import TEXELS


def far_first(means: np.ndarray, view: np.ndarray) -> np.ndarray:
    """The order [N] int64 in which Gaussians at means [N,3] float32 are blended: from the farthest to the nearest along
    the axis of an OpenGL camera's view matrix [4,4]; equally far ones stay in their order."""
    depth = means @ view[2, :3].astype(np.float32) + np.float32(view[2, 3])  # negative ahead: the farthest is smallest
    bits = depth.view(np.uint32)
    rising = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))  # whole numbers in the order of the floats
    # numpy sorts 16 bits in linear time (radix): the lower half, then stably the upper one, takes a fifth of argsort.
    order = np.argsort(rising.astype(np.uint16), kind="stable")
    upper = (rising >> 16).astype(np.uint16)
    return order[np.argsort(upper[order], kind="stable")]


def texels(values: np.ndarray, rows: int) -> np.ndarray:
    """values [N,C] -> [rows * TEXELS, 4] float32, filled with zeros."""
    whole = np.zeros((rows * TEXELS, 4), np.float32)
    whole[: len(values), : values.shape[1]] = values
    return whole


class SplatCloud:
    """N Gaussians in world space as the splats' program takes them, chosen [N] 1 where their avatar is selected. Needs
    a current graphics context."""

    def __init__(self, gaussians: Gaussians, chosen: np.ndarray) -> None:
        self.count = len(gaussians)
        self.means = np.ascontiguousarray(gaussians.means, np.float32)
        self._rows = max(1, -(-self.count // TEXELS))
        places = np.concatenate([gaussians.means, gaussians.opacities[:, None]], 1)
        extents = np.concatenate([gaussians.scales, chosen[:, None]], 1)
        self._textures = {
            name: _texture(texels(values, self._rows), "RGBA32F") for name, values in (
                ("places", places), ("turns", gaussians.quats), ("extents", extents),
                ("colors", gaussians.colors),
            )
        }  # fmt: skip
        self._order: tuple[bytes, gpu.types.GPUTexture] | None = None

    def bind(self, shader: gpu.types.GPUShader, view: np.ndarray) -> None:
        """Hand the textures to the bound program, sorted for the view matrix [4,4]."""
        for name, texture in self._textures.items():
            shader.uniform_sampler(name, texture)
        shader.uniform_sampler("far_first", self._sorted(view))

    def _sorted(self, view: np.ndarray) -> gpu.types.GPUTexture:
        axis = np.asarray(view[2], np.float32).tobytes()
        if self._order is None or self._order[0] != axis:
            order = np.zeros(self._rows * TEXELS, np.float32)  # whole numbers are exact up to 16 million
            order[: self.count] = far_first(self.means, view)
            self._order = axis, _texture(order, "R32F")
        return self._order[1]


class Quads:
    """Four numbered vertices and two triangles for each of N splats, kept while N stays."""

    def __init__(self) -> None:
        self._count = -1
        self._batch: gpu.types.GPUBatch | None = None

    def draw(self, shader: gpu.types.GPUShader, count: int) -> None:
        if count != self._count:
            self._count, self._batch = count, _quads(count)
        self._batch.draw(shader)


def _quads(count: int) -> gpu.types.GPUBatch:
    layout = gpu.types.GPUVertFormat()
    layout.attr_add(id="vertex_number", comp_type="F32", len=1, fetch_mode="FLOAT")
    vertices = gpu.types.GPUVertBuf(layout, 4 * count)
    vertices.attr_fill("vertex_number", np.arange(4 * count, dtype=np.float32))
    corners = np.array([[0, 1, 2], [2, 1, 3]], np.int32)
    triangles = (4 * np.arange(count, dtype=np.int32)[:, None, None] + corners).reshape(-1, 3)
    return gpu.types.GPUBatch(type="TRIS", buf=vertices, elem=gpu.types.GPUIndexBuf(type="TRIS", seq=triangles))


def _texture(values: np.ndarray, kind: str) -> gpu.types.GPUTexture:
    data = gpu.types.Buffer("FLOAT", values.size, np.ascontiguousarray(values).ravel())
    return gpu.types.GPUTexture((TEXELS, len(values) // TEXELS), format=kind, data=data)
