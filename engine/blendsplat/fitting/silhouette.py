# SPDX-License-Identifier: Apache-2.0
"""Keeping the head inside the person's matte while its shape is fitted: landmarks say nothing of skull, ears and neck.

The matte holds hair, clothes and hands too, so it only pushes from outside: a vertex that projects beyond its border
is drawn back to it, one inside is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.landmark_model import LandmarkModel, project_with_jacobian, restrict_to_vertices
from blendsplat.fitting.vertex_offsets import OffsetBasis, with_pushes
from blendsplat.heads.model import HeadModel

VERTICES = 500
SIDE = 192  # pixels of the distance maps' longer side: the border is known no better
TOLERANCE = 0.03  # a matte's error, as a part of the distance between the eyes
CAUCHY = 4.0
REGIONS = ("face", "scalp", "neck", "left_ear", "right_ear")
Mattes = Callable[[int], np.ndarray]


@dataclass
class Inside:
    """The term for B frames: maps [B,3,H',W'] of the distance outside the matte (image pixels) and its gradient."""

    model: LandmarkModel
    maps: Tensor
    scale: float  # map pixels per image pixel
    weight: float

    def rows(
        self, unknowns: Tensor, root: Tensor, focal: Tensor, centre: Tensor, eyes: Tensor, clip: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """See solver.ShapeTerm."""
        sigma = TOLERANCE * eyes
        model = self.model if clip is None else self.model.shaped(clip)
        pixels, jacobian, by_clip = project_with_jacobian(model, unknowns, root, focal, centre, clip is not None)
        distance, slope = self._sample(pixels)
        residual = distance / sigma[:, None]
        ratio = residual**2 / CAUCHY**2
        root_weight = (self.weight / (1 + ratio)).sqrt()
        chain = slope * (root_weight / sigma[:, None])[..., None]
        rows = (chain[..., None, :] @ jacobian)[..., 0, :]
        clip_rows = None if by_clip is None else (chain[..., None, :] @ by_clip)[..., 0, :]
        return self.weight * CAUCHY**2 * torch.log1p(ratio).sum(1), residual * root_weight, rows, clip_rows

    def frames(self, rows: Tensor | slice) -> Inside:
        """See solver.ShapeTerm."""
        return replace(self, maps=self.maps[rows])

    def _sample(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Distance [B,N] and gradient [B,N,2] at pixels [B,N,2], bilinear; beyond the image its edge counts."""
        size = torch.tensor([self.maps.shape[3], self.maps.shape[2]], dtype=pixels.dtype)
        grid = pixels * self.scale / size * 2 - 1
        found = torch.nn.functional.grid_sample(
            self.maps, grid[:, :, None], mode="bilinear", padding_mode="border", align_corners=False
        )[..., 0]  # [B,3,N]
        return found[:, 0], found[:, 1:].transpose(1, 2)


def make_inside(
    head: HeadModel, mattes: Mattes, frames: np.ndarray, shape_count: int, basis: OffsetBasis | None, weight: float
) -> Inside:
    """The term for the given frames' mattes (uint8 [H,W] by frame)."""
    chosen = np.unique(np.concatenate([head.regions.get(name, np.zeros(0, int)) for name in REGIONS]))
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(VERTICES, len(chosen))).astype(int)]
    vertices = torch.as_tensor(chosen)
    model = restrict_to_vertices(head, vertices, shape_count)
    if basis is not None:
        model = with_pushes(model, basis.weights[vertices])
    first = mattes(int(frames[0]))
    scale = min(SIDE / max(first.shape), 1.0)
    maps = np.stack([_distance_maps(first if n == 0 else mattes(int(f)), scale) for n, f in enumerate(frames)])
    return Inside(model, torch.as_tensor(maps), scale, weight)


def _distance_maps(matte: np.ndarray, scale: float) -> np.ndarray:
    """[3,H',W'] float32: pixels of the image to the matte's border, and the direction away from it."""
    small = cv2.resize(matte, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else matte
    outside = (small < 128).astype(np.uint8)
    if not (outside == 0).any():  # a frame without a person says nothing
        return np.zeros((3, *small.shape), np.float32)
    distance = cv2.distanceTransform(outside, cv2.DIST_L2, 5) / scale
    distance = np.maximum(distance - 0.5 / scale, 0)
    smooth = cv2.GaussianBlur(distance, (0, 0), 1.0)
    down, right = np.gradient(smooth, 1 / scale)
    return np.stack([distance, right, down]).astype(np.float32)
