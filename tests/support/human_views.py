# SPDX-License-Identifier: Apache-2.0
"""The head that ships, posed, and what a far camera sees of it: a tenth of a millimetre a pixel."""

from __future__ import annotations

import math

import numpy as np
import torch

from blendsplat.heads.human import human_head
from blendsplat.heads.model import HeadModel
from blendsplat.splatting import rasterize_mesh

PIXEL = 1e-4  # metres
FAR = 5.0  # metres to the camera: nearly parallel rays

Turn = tuple[float, float, float]
AHEAD: Turn = (0.0, 0.0, 0.0)


def posed(
    shape: torch.Tensor | None = None, jaw: Turn = AHEAD, eyes: tuple[Turn, Turn] = (AHEAD, AHEAD), neck: Turn = AHEAD,
    **expression: float,
) -> torch.Tensor:  # fmt: skip
    """Vertices [V,3] with these rotation vectors and expressions."""
    head = human_head()
    params = head.neutral()
    if shape is not None:
        params.shape = shape[None]
    for name, value in expression.items():
        params.expression[0, head.expression_names.index(name)] = value
    params.jaw_pose[0], params.neck_pose[0] = torch.tensor(jaw), torch.tensor(neck)
    params.eyes_pose[0] = torch.tensor(eyes)
    return head(params)[0]


def random_shapes(count: int, seed: int) -> list[torch.Tensor]:
    """Identities [S] of ``count`` people within two standard deviations, the last a child."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.randn(count, human_head().shape_count, generator=generator).clamp(-2, 2)
    shapes[:, -1] = 0
    shapes[-1, -1] = 1
    shapes[-1, :-1] *= 0.5
    return list(shapes)


def faces_of(head: HeadModel, *regions: str) -> np.ndarray:
    """[F]: the faces with all corners in one of the regions."""
    return np.isin(head.faces.numpy(), np.concatenate([head.regions[name] for name in regions])).all(1)


def seen(vertices: torch.Tensor, middle: torch.Tensor, width: float, yaw: float = 0.0) -> np.ndarray:
    """Which face each pixel shows, [S,S], -1 for none; ``width`` metres about ``middle``, ``yaw`` radians aside."""
    size = round(width / PIXEL)
    c, s = math.cos(yaw), math.sin(yaw)
    rotation = torch.tensor([[c, 0, s], [0, -1, 0], [s, 0, -c]])
    viewmat = torch.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, torch.tensor([0, 0, FAR]) - rotation @ middle
    K = torch.tensor([[FAR / PIXEL, 0, size / 2], [0, FAR / PIXEL, size / 2], [0, 0, 1]])
    ids, _, _ = rasterize_mesh(vertices[None], human_head().faces, viewmat[None], K[None], size, size)
    return ids[0].numpy()


def shows(ids: np.ndarray, of: np.ndarray) -> np.ndarray:
    """[S,S] bool: the pixels that show one of the faces ``of`` [F]."""
    return (ids >= 0) & of[ids]


def longest_run(mask: np.ndarray) -> int:
    """The most pixels of a column that follow each other in ``mask``."""
    longest, run = 0, np.zeros(mask.shape[1], int)
    for row in mask:
        run = np.where(row, run + 1, 0)
        longest = max(longest, int(run.max()))
    return longest
