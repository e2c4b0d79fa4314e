# SPDX-License-Identifier: Apache-2.0
"""A small random head for tests: a bumpy UV sphere with every array of HeadModel filled at random."""

from __future__ import annotations

import numpy as np
import torch

from blendsplat.heads.model import HeadModel


def grid_sphere(
    rows: int = 8, columns: int = 12, radius: float = 0.1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(vertices [V,3], faces [F,3] counter-clockwise from outside, uvs [T,2], uv_faces): open at both poles."""
    polar = np.linspace(0.15 * np.pi, 0.85 * np.pi, rows)
    azimuth = np.arange(columns) / columns * 2 * np.pi
    p, a = np.meshgrid(polar, azimuth, indexing="ij")
    vertices = radius * np.stack([np.sin(p) * np.sin(a), np.cos(p), np.sin(p) * np.cos(a)], -1).reshape(-1, 3)
    u, v = np.meshgrid(np.linspace(0.02, 0.98, columns + 1), np.linspace(0.98, 0.02, rows))
    uvs = np.stack([u, v], -1).reshape(-1, 2)
    faces, uv_faces = [], []
    for row in range(rows - 1):
        for column in range(columns):
            corner = [(row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1)]
            quad = [r * columns + c % columns for r, c in corner]
            texel = [r * (columns + 1) + c for r, c in corner]
            for pick in ((0, 1, 2), (0, 2, 3)):
                faces.append([quad[i] for i in pick])
                uv_faces.append([texel[i] for i in pick])
    return vertices, np.array(faces), uvs, np.array(uv_faces)


def small_head(seed: int = 0, shape: int = 4, expression: int = 3, dtype: torch.dtype = torch.float64) -> HeadModel:
    """Random directions, weights and joints on grid_sphere."""
    rng = np.random.default_rng(seed)
    vertices, faces, uvs, uv_faces = grid_sphere()
    count = len(vertices)

    def random(*size: int, scale: float = 0.01) -> torch.Tensor:
        return torch.as_tensor(rng.normal(size=size) * scale, dtype=dtype)

    weights = rng.random((count, 5)) ** 3
    return HeadModel(
        name="small",
        template=torch.as_tensor(vertices, dtype=dtype),
        faces=torch.as_tensor(faces),
        uvs=torch.as_tensor(uvs, dtype=dtype),
        uv_faces=torch.as_tensor(uv_faces),
        shape_directions=random(shape, count, 3),
        expression_directions=random(expression, count, 3),
        expression_names=tuple(f"expression{i}" for i in range(expression)),
        eyelid_directions=random(2, count, 3),
        pose_directions=random(36, count, 3),
        joints=random(5, 3, scale=0.05),
        joint_shape_directions=random(shape, 5, 3),
        joint_expression_directions=random(expression, 5, 3),
        skin_weights=torch.as_tensor(weights / weights.sum(1, keepdims=True), dtype=dtype),
    )
