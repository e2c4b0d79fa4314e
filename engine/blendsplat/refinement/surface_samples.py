# SPDX-License-Identifier: Apache-2.0
"""The points of a head's surface whose colours a picture is asked for: spread by area, denser where faces move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.landmark_model import LandmarkModel, restrict_to_points
from blendsplat.heads.model import HeadModel

# Samples per area against the cheek's. What is not named is not looked at: the mouth's inside, the
# bust; nor are the eyeballs, whose colours drift with the lids' shadow (iris_term.py has the gaze).
DENSITY = {
    "scalp": 0.35, "neck": 0.35, "face": 1.0, "left_ear": 0.5, "right_ear": 0.5, "nose": 1.6, "lips": 2.0,
    "left_eyelids": 2.0, "right_eyelids": 2.0,
}  # fmt: skip
HIDDEN = (
    "mouth_interior", "tongue", "teeth_upper", "teeth_lower", "neck_ring", "left_eyeball", "right_eyeball",
)  # fmt: skip


@dataclass
class SurfaceSamples:
    """N points: the face each lies on [N], that face's corners [N,3] and weights of these [N,3], and the region of
    DENSITY each belongs to [N], an index into ``regions``."""

    faces: Tensor
    corners: Tensor
    barycentrics: Tensor
    region: np.ndarray
    regions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.faces)

    def model(self, head: HeadModel, shape_count: int = 0) -> LandmarkModel:
        """``head`` restricted to the samples, with its first ``shape_count`` shape directions."""
        return restrict_to_points(head, self.corners, self.barycentrics, torch.ones(len(self)), shape_count)

    def at(self, vertices: Tensor) -> Tensor:
        """Values of the head's vertices [B,V,X] -> of the samples [B,N,X]."""
        return (vertices[:, self.corners] * self.barycentrics[..., None]).sum(2)


def spread_samples(head: HeadModel, count: int) -> SurfaceSamples:
    """About ``count`` samples, the same for the same head: steps of equal weighted area along the faces' order."""
    faces = head.faces.numpy()
    regions = tuple(name for name in DENSITY if name in head.regions)
    label = np.full(head.vertex_count, -1)
    for number, name in enumerate(regions):
        label[head.regions[name]] = number
    for name in HIDDEN:
        label[head.regions.get(name, np.zeros(0, np.int64))] = -1
    region = np.where((label[faces] >= 0).all(1), label[faces].min(1), -1)
    corners = head.template.double().numpy()[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    density = np.array([*(DENSITY[name] for name in regions), 0.0])[region]
    reached = np.cumsum(area * density)
    chosen = np.searchsorted(reached, (np.arange(count) + 0.5) / count * reached[-1])
    first, second = torch.quasirandom.SobolEngine(2).draw(count).numpy().T
    root = np.sqrt(first)  # uniform over a triangle (Turk 1990)
    mix = np.stack([1 - root, root * (1 - second), root * second], 1)
    return SurfaceSamples(
        torch.as_tensor(chosen), head.faces[torch.as_tensor(chosen)], torch.as_tensor(mix, dtype=torch.float32),
        region[chosen], regions,
    )  # fmt: skip
