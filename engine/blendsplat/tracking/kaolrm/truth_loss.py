# SPDX-License-Identifier: Apache-2.0
"""How far regressed heads are from known ones, in the mesh's own units: what generated data can teach with.

The published losses see landmarks and pixels only; where the truth is known these say more, and each in one unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.heads.model import HeadModel
from blendsplat.tracking.kaolrm.dataset import COEFFICIENTS
from blendsplat.tracking.kaolrm.model import head_params, head_vertices


@dataclass
class TruthLoss:
    """L1 distances of world vertices, of the shape's and the expression's displacements, and of coefficients measured
    in their own spread over the data."""

    head: HeadModel
    spread: dict[str, Tensor]  # standard deviation of every coefficient
    focal: float
    world: float = 1.0
    displacement: float = 1.0
    coefficient: float = 0.01

    def __call__(self, predicted: dict[str, Tensor], truth: dict[str, Tensor]) -> Tensor:
        """Coefficients of B heads, regressed and true -> a scalar."""
        world = head_vertices(predicted, self.head, self.focal) - head_vertices(truth, self.head, self.focal)
        loss = self.world * world.abs().mean()
        for name, directions in (
            ("shape", self.head.shape_directions), ("expression", self.head.expression_directions),
        ):  # fmt: skip
            count = predicted[name].shape[-1]
            moved = (predicted[name] - truth[name]) @ directions[:count].flatten(1)
            loss = loss + self.displacement * (moved * truth["scale"]).abs().mean()
        for name in COEFFICIENTS:
            loss = loss + self.coefficient * ((predicted[name] - truth[name]) / self.spread[name]).abs().mean()
        return loss


def coefficient_statistics(truths: list[dict[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(mean, standard deviation) of every coefficient over some heads; no deviation is below a hundredth."""
    stacked = {name: torch.stack([truth[name] for truth in truths]) for name in COEFFICIENTS}
    return (
        {name: values.mean(0) for name, values in stacked.items()},
        {name: values.std(0).clamp_min(0.01) for name, values in stacked.items()},
    )


def face_error(predicted: dict[str, Tensor], truth: dict[str, Tensor], head: HeadModel, rows: Tensor) -> Tensor:
    """Mean distance [B] in metres between the face's vertices, neutral faces apart from expression, after the best
    rotation and translation: how well the person is met, whatever the pose."""
    neutral = [
        head(head_params({**c, "pose": torch.zeros_like(c["pose"])}, head))[:, rows] for c in (predicted, truth)
    ]
    return (rigidly_aligned(*neutral) - neutral[1]).norm(dim=-1).mean(-1)


def rigidly_aligned(points: Tensor, onto: Tensor) -> Tensor:
    """points [B,P,3] moved by the rotation and translation that bring them closest to ``onto`` (Kabsch)."""
    centre, target = points.mean(1, keepdim=True), onto.mean(1, keepdim=True)
    u, _, vt = torch.linalg.svd((points - centre).transpose(1, 2) @ (onto - target))
    flip = torch.ones(len(points), 3)
    flip[:, 2] = torch.det(u @ vt).sign()
    return (points - centre) @ (u * flip[:, None]) @ vt + target
