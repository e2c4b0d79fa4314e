# SPDX-License-Identifier: Apache-2.0
"""Which point of the surface each texel of a head's UV layout shows: the places where an avatar puts its Gaussians.

One sample per texel whose centre lies in a UV triangle (RGBAvatar, section 3.1); a texel that several triangles cover
goes to the first of them, so no texel gives two Gaussians.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from blendsplat.errors import InputError
from blendsplat.heads.model import HeadModel
from blendsplat.splatting import rasterize_mesh


def rasterize_uv(head: HeadModel, resolution: int) -> tuple[Tensor, Tensor]:
    """(triangle [N] int32, barycentrics [N,3] float32) of a head's covered texels, in row-major order of the texels.

    Texel centres lie at ((column + 0.5) / resolution, (row + 0.5) / resolution) in (u, v).
    """
    texels, triangles, barycentrics = rasterize_uv_faces(
        head.uvs.cpu().numpy(), head.uv_faces.cpu().numpy(), resolution
    )
    del texels
    return torch.from_numpy(triangles.astype(np.int32)), torch.from_numpy(barycentrics.astype(np.float32))


def rasterize_uv_faces(
    uvs: np.ndarray, uv_faces: np.ndarray, resolution: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(texel [N] = row * resolution + column, triangle [N], barycentrics [N,3] float64), sorted by texel, each once."""
    if resolution < 1:
        raise InputError(f"The UV resolution is {resolution}; choose a positive number of texels, for example 256.")
    corners = uvs.astype(np.float64)[uv_faces] * resolution - 0.5  # texel centres are whole numbers here
    low = np.clip(np.ceil(corners.min(1) - 1e-9), 0, resolution).astype(np.int64)
    high = np.clip(np.floor(corners.max(1) + 1e-9) + 1, 0, resolution).astype(np.int64)
    size = np.maximum(high - low, 0)
    count = size[:, 0] * size[:, 1]
    triangle = np.repeat(np.arange(len(uv_faces)), count)
    within = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
    width = size[triangle, 0]
    column = low[triangle, 0] + within % np.maximum(width, 1)
    row = low[triangle, 1] + within // np.maximum(width, 1)

    barycentrics, usable = _barycentrics(corners[triangle], np.stack([column, row], 1).astype(np.float64))
    inside = usable & (barycentrics.min(1) >= -1e-9)
    texel, triangle, barycentrics = (row * resolution + column)[inside], triangle[inside], barycentrics[inside]
    texel, first = np.unique(texel, return_index=True)  # the first index of a texel is its first triangle
    clipped = barycentrics[first].clip(0, 1)
    return texel, triangle[first], clipped / clipped.sum(1, keepdims=True)


def _barycentrics(corners: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners [N,3,2], points [N,2] -> (barycentrics [N,3], triangle has area [N])."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = points - corners[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    usable = np.abs(area) > 1e-12
    safe = np.where(usable, area, 1.0)
    second = (p[:, 0] * b[:, 1] - p[:, 1] * b[:, 0]) / safe
    third = (a[:, 0] * p[:, 1] - a[:, 1] * p[:, 0]) / safe
    return np.stack([1 - second - third, second, third], 1), usable


def texture_texels(uvs: Tensor, uv_faces: Tensor, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each texel of a size x size texture shows whose first row has v = 1, drawn by the mesh rasterizer.

    uvs [T,2], uv_faces [F,3] -> (texel [N] = row * size + column, triangle [N], barycentrics [N,3] float32), by texel.
    """
    plane = torch.stack([uvs[:, 0], 1 - uvs[:, 1], torch.ones_like(uvs[:, 0])], -1).float()
    K = torch.diag(torch.tensor([float(size), float(size), 1.0]))
    faces, barycentrics, _ = rasterize_mesh(plane[None], uv_faces, torch.eye(4)[None], K[None], size, size)
    shown = faces[0].numpy().ravel()
    texels = np.flatnonzero(shown >= 0)
    return texels, shown[texels], barycentrics[0].numpy().reshape(-1, 3)[texels]


def uv_overlap(uvs: np.ndarray, uv_faces: np.ndarray, resolution: int) -> float:
    """Share of covered texels whose centre lies strictly inside more than one triangle; 0 is without overlaps."""
    corners = uvs.astype(np.float64)[uv_faces] * resolution - 0.5
    covered = np.zeros(resolution * resolution, np.int32)
    for start in range(0, len(uv_faces), 4096):
        chunk = corners[start : start + 4096]
        low = np.clip(np.ceil(chunk.min(1)), 0, resolution).astype(np.int64)
        high = np.clip(np.floor(chunk.max(1)) + 1, 0, resolution).astype(np.int64)
        size = np.maximum(high - low, 0)
        count = size[:, 0] * size[:, 1]
        triangle = np.repeat(np.arange(len(chunk)), count)
        within = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
        width = np.maximum(size[triangle, 0], 1)
        points = low[triangle] + np.stack([within % width, within // width], 1)
        barycentrics, usable = _barycentrics(chunk[triangle], points.astype(np.float64))
        inside = points[usable & (barycentrics.min(1) > 1e-6)]
        np.add.at(covered, inside[:, 1] * resolution + inside[:, 0], 1)
    return float((covered > 1).sum() / max((covered > 0).sum(), 1))
