# SPDX-License-Identifier: Apache-2.0
"""How far regressed heads are from known ones, in the mesh's own units: what generated data can teach with.

The published losses see landmarks and pixels only; where the truth is known these say more, and each in one unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.heads.model import HeadModel
from blendsplat.kaolrm.model import head_params, head_vertices
from blendsplat.kaolrm.training.generated_dataset import COEFFICIENTS


@dataclass
class ParameterLoss:
    """L1 distances of world vertices; of what the shape, and what expression and jaw, do to the head; and of
    coefficients measured in their own spread over the data. Of the person only the head counts, and the face in it
    twice; where the head is in the picture every fit finds again, so ``world`` may be small."""

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
        count = predicted["shape"].shape[-1]
        shape = (predicted["shape"] - truth["shape"]) @ self.head.shape_directions[:count].flatten(1)
        still = {**truth, "pose": truth["pose"] * truth["pose"].new_tensor([0, 0, 0, 1, 1, 1])}
        pose = torch.cat([still["pose"][:, :3], predicted["pose"][:, 3:]], -1)
        moving = {**still, "expression": predicted["expression"], "pose": pose}
        expression = self.head(head_params(moving, self.head)) - self.head(head_params(still, self.head))
        for moved in (shape.unflatten(-1, (-1, 3)), expression):
            moved = (moved * truth["scale"][:, None]).abs()
            loss = loss + self.displacement * 0.5 * (moved.mean() + moved[:, self.head.regions["face"]].mean())
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
    similarity: how well the person is met, whatever the pose and the size, which no photograph shows."""
    neutral = [head(head_params({**c, "pose": torch.zeros_like(c["pose"])}, head))[:, rows] for c in (predicted, truth)]
    return (aligned(*neutral) - neutral[1]).norm(dim=-1).mean(-1)


def aligned(points: Tensor, onto: Tensor) -> Tensor:
    """points [B,P,3] moved by the rotation, translation and scale that bring them closest to ``onto`` (Umeyama)."""
    centre, target = points.mean(1, keepdim=True), onto.mean(1, keepdim=True)
    u, size, vt = torch.linalg.svd((points - centre).transpose(1, 2) @ (onto - target))
    flip = torch.ones_like(size)
    flip[:, 2] = torch.det(u @ vt).sign()
    scale = (size * flip).sum(1) / (points - centre).square().sum((1, 2))
    return scale[:, None, None] * ((points - centre) @ (u * flip[:, None]) @ vt) + target
