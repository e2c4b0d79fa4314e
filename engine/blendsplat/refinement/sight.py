# SPDX-License-Identifier: Apache-2.0
"""Which samples of a head a picture shows: those that face the camera and lie behind nothing of the head itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.fitting.frame_problem import eyes_pose
from blendsplat.fitting.landmark_model import EXPRESSION, EYELIDS, JAW, NECK, TRANSLATION
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.refinement.surface_samples import SurfaceSamples
from blendsplat.splatting.mesh import rasterize_mesh

SIDE = 160  # pixels of the depth picture's longer side
BEHIND = 0.004  # metres behind the nearest surface at which a sample counts as hidden
GRAZING, FACING = 0.15, 0.5  # cosines between which a sample comes into sight
BATCH = 16


@dataclass
class View:
    """How the samples stand in B frames: unit normals [B,N,3] in the camera's axes (y up), sight [B,N] 0 to 1."""

    normals: Tensor
    sight: Tensor


def head_params(unknowns: Tensor, root: Tensor) -> HeadParams:
    """Unknowns [B,P] of heads whose shape is built in, before the camera at the origin."""
    return HeadParams(
        torch.zeros(1, 0), unknowns[:, EXPRESSION], root[None], unknowns[:, NECK], unknowns[:, JAW],
        torch.from_numpy(eyes_pose(unknowns.numpy())), unknowns[:, EYELIDS], unknowns[:, TRANSLATION],
    )  # fmt: skip


def see(
    head: HeadModel, samples: SurfaceSamples, unknowns: Tensor, root: Tensor, focal: Tensor, centre: Tensor,
    size: tuple[int, int],
) -> View:  # fmt: skip
    """``head``: the person's, shape built in. size: (width, height) of the clip's pictures."""
    scale = min(SIDE / max(size), 1.0)
    width, height = (max(round(side * scale), 1) for side in size)
    K = torch.tensor([[float(focal) * scale, 0, float(centre[0]) * scale],
                      [0, float(focal) * scale, float(centre[1]) * scale], [0, 0, 1]])  # fmt: skip
    views = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    parts = []
    for start in range(0, len(unknowns), BATCH):
        vertices = head(head_params(unknowns[start : start + BATCH], root))
        count = len(vertices)
        _, _, depth = rasterize_mesh(
            vertices, head.faces, views.expand(count, 4, 4), K.expand(count, 3, 3), width, height
        )
        parts.append(_view(samples, vertices, depth, K))
    return View(torch.cat([p.normals for p in parts]), torch.cat([p.sight for p in parts]))


def _view(samples: SurfaceSamples, vertices: Tensor, depth: Tensor, K: Tensor) -> View:
    corners = vertices[:, samples.corners]
    normals = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    normals = torch.nn.functional.normalize(normals, dim=-1)
    points = (corners * samples.barycentrics[..., None]).sum(2)
    to_camera = -torch.nn.functional.normalize(points, dim=-1)
    facing = (normals * to_camera).sum(-1)
    away = (-points[..., 2]).clamp_min(0.02)
    flat = torch.stack([points[..., 0], -points[..., 1]], -1) / away[..., None] * K[0, 0] + K[:2, 2]
    nearest = _nearest(depth, flat)
    ramp = ((facing - GRAZING) / (FACING - GRAZING)).clamp(0, 1)
    return View(normals, ramp * (away < nearest + BEHIND))


def _nearest(depth: Tensor, flat: Tensor) -> Tensor:
    """[B,N]: the farthest of the depths around each pixel: at an edge the sample gets the benefit of the doubt."""
    height, width = depth.shape[1:]
    column, row = flat[..., 0], flat[..., 1]
    found = torch.zeros_like(column)
    for right in (-0.5, 0.5):
        for down in (-0.5, 0.5):
            x = (column + right).floor().long().clamp(0, width - 1)
            y = (row + down).floor().long().clamp(0, height - 1)
            found = torch.maximum(found, depth.flatten(1).gather(1, y * width + x))
    return torch.where(found > 0, found, torch.inf)
