# SPDX-License-Identifier: Apache-2.0
"""The terms of KaoLRM's published loss (section 3.4), each a scalar of a batch; the presets hold their weights.

Pictures are [M,H,W,C] for M views of all people together. Where paper and released code differ, the code's is taken.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from blendsplat.heads.landmarks68 import BROWS_TO_EYES, LIPS
from blendsplat.heads.model import HeadModel

LANDMARK_PIXELS = 192  # landmark distances are measured in pixels of pictures of this side, whatever is rendered
FARTHEST = 5.0  # expected depths are clamped to 0 .. 5
VISIBLE = 0.01  # alpha below which surfels have no depth to speak of
_FACE = ("face", "nose", "left_ear", "right_ear", "left_eyeball", "right_eyeball")
_NOT_FACE = ("forehead",)


def landmark_loss(projected: Tensor, landmarks: Tensor, size: int) -> Tensor:
    """Huber distance of all 68 landmarks, plus that of brows, nose and eyes (17-47), plus that of the lips (48-67).

    projected and landmarks [M,68,2] in pixels of pictures of ``size``. A view counts only when every coordinate of its
    landmarks is positive; without such a view the loss is 0.
    """
    usable = (landmarks > 0).flatten(1).all(1)
    unit = LANDMARK_PIXELS / size
    per_point = huber_loss(projected * unit, torch.where(usable[:, None, None], landmarks, 0) * unit, reduction="none")
    per_view = sum(per_point[:, rows].flatten(1).mean(1) for rows in (slice(None), BROWS_TO_EYES, LIPS))
    assert isinstance(per_view, Tensor)
    return torch.where(usable, per_view, 0).sum() / usable.sum().clamp_min(1)


def regulariser(coefficients: Tensor) -> Tensor:
    """Sum of squares over the batch: a typical person without expression has zeros."""
    return coefficients.square().sum()


def alpha_loss(alphas: Tensor, targets: Tensor) -> Tensor:
    """L1 of the surfels' coverage."""
    return (alphas - targets).abs().mean()


def pixel_loss(images: Tensor, targets: Tensor, mask: Tensor, face_share: float) -> Tensor:
    """Squared difference, ``face_share`` of it counted inside the face's mask [M,H,W,1] only (equation 3)."""
    squares = (images - targets).square()
    return (1 - face_share) * squares.mean() + face_share * (squares * mask.square()).mean()


def binding_losses(
    surfel_depth: Tensor, surfel_normals: Tensor, mesh_depth: Tensor, mesh_normals: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """L1 between the surfels' and the mesh's depth [M,H,W,1] and normals [M,H,W,3] (equation 4), over the pixels that
    ``weights`` [M,H,W,1] counts. Gradients go both ways: to the surfels and to the vertices."""
    total = weights.sum().clamp_min(1)
    depth = ((surfel_depth - mesh_depth).abs() * weights).sum() / total
    normals = ((surfel_normals - mesh_normals).abs().mean(-1, keepdim=True) * weights).sum() / total
    return depth, normals


def face_triangles(head: HeadModel) -> Tensor:
    """Which triangles [F] are the face: ears, face, eyeballs and nose without the forehead, all three corners in."""
    inside = torch.zeros(head.vertex_count, dtype=torch.bool)
    for names, value in ((_FACE, True), (_NOT_FACE, False)):
        for name in names:
            if name in head.regions:
                inside[torch.from_numpy(head.regions[name])] = value
    return inside.to(head.faces.device)[head.faces].all(1)
