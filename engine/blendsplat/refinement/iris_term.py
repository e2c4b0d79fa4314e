# SPDX-License-Identifier: Apache-2.0
"""The solver's term for the gaze: the middle of each eyeball's front lies where the picture shows the iris."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.landmark_model import LandmarkModel, project_with_jacobian, restrict_to_points
from blendsplat.heads.model import LEFT_EYE_JOINT, RIGHT_EYE_JOINT, HeadModel

NOISE = 0.008  # of the distance between the eyes
CAUCHY = 3.0
EYES = (("left_eyeball", LEFT_EYE_JOINT), ("right_eyeball", RIGHT_EYE_JOINT))


@dataclass
class IrisTerm:
    """Of B frames: centres [B,2,2] in pixels, weights [B,2]."""

    model: LandmarkModel  # of the two points
    centres: Tensor
    weights: Tensor

    def frames(self, rows: Tensor | slice) -> IrisTerm:
        """See solver.ShapeTerm."""
        return replace(self, centres=self.centres[rows], weights=self.weights[rows])

    def rows(
        self, unknowns: Tensor, root: Tensor, focal: Tensor, centre: Tensor, eyes: Tensor, clip: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """See solver.ShapeTerm."""
        model = self.model if clip is None else self.model.shaped(clip)
        pixels, jacobian, by_clip = project_with_jacobian(model, unknowns, root, focal, centre, clip is not None)
        sigma = (NOISE * eyes)[:, None, None]
        away = (pixels - self.centres) / sigma
        ratio = away.square().sum(-1) / CAUCHY**2
        cost = (self.weights * CAUCHY**2 * torch.log1p(ratio)).sum(1)
        scale = (self.weights / (1 + ratio)).sqrt()[..., None] / sigma

        def weighed(derivative: Tensor) -> Tensor:
            return (derivative * scale[..., None]).flatten(1, 2)

        values = (away * sigma * scale).flatten(1)
        return cost, values, weighed(jacobian), None if by_clip is None else weighed(by_clip)


def front_of_eyes(head: HeadModel) -> tuple[Tensor, Tensor] | None:
    """Corners [2,3] and their weights [2,3] of the points where the eyeballs' axes (+z at rest) leave them.

    None for a head whose eyeballs are not named.
    """
    corners, mixes = [], []
    for region, joint in EYES:
        rows = head.regions.get(region, np.zeros(0, np.int64))
        if not len(rows):
            return None
        faces = head.faces[torch.as_tensor(np.isin(head.faces.numpy(), rows).all(1))]
        local = (head.template[faces] - head.joints[joint]).double()  # [F,3,3]
        flat = local[..., :2]
        edge_a, edge_b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
        area = edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0]
        u = (-flat[:, 0, 0] * edge_b[:, 1] + flat[:, 0, 1] * edge_b[:, 0]) / area
        v = (-edge_a[:, 0] * flat[:, 0, 1] + edge_a[:, 1] * flat[:, 0, 0]) / area
        mix = torch.stack([1 - u - v, u, v], -1)
        ahead = (local[..., 2].mean(1) > 0) & (area > 1e-14)
        best = torch.where(ahead, mix.min(1).values, -torch.inf).nan_to_num(-torch.inf).argmax()
        corners.append(faces[best])
        mixes.append(mix[best].clamp(0, 1).float())
    return torch.stack(corners), torch.stack(mixes)


def iris_model(head: HeadModel, shape_count: int) -> LandmarkModel | None:
    """``head`` restricted to front_of_eyes, with its first ``shape_count`` shape directions."""
    front = front_of_eyes(head)
    return None if front is None else restrict_to_points(head, *front, torch.ones(2), shape_count)
