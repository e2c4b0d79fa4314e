# SPDX-License-Identifier: Apache-2.0
"""How wide a face is, from the detector's outline: its points slide along the outline, but the outline stays in place.

So points are not compared one by one. In each direction, the farthest detected point is compared with the head's
farthest outline point (the two support functions), which is blind to sliding and has the derivative of one point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blendsplat.fitting.landmark_model import LandmarkModel, project_with_jacobian
from blendsplat.landmarks import points as pts

DIRECTIONS = (50.0, 60.0, 70.0, 80.0, 90.0, 100.0)  # degrees from straight down to either side: cheeks and jaw
# Measured on generated people, turned by up to 25 degrees: standard deviation over the distance between the eyes.
# Neighbouring directions err alike: three count as one.
NOISE, ALIKE = 0.055, 3.0
CAUCHY = 3.0
FRONTAL, TURNED = 20.0, 45.0  # degrees of yaw up to which an outline is believed, from which it is not


@dataclass
class Outline:
    """The term for B frames and D directions. reach [B,D] is the farthest detected point, in pixels."""

    model: LandmarkModel  # of the outline's points
    directions: Tensor  # [B,D,2] unit vectors in the image
    reach: Tensor
    weights: Tensor  # [B,D]

    def rows(
        self, unknowns: Tensor, root: Tensor, focal: Tensor, centre: Tensor, eyes: Tensor, clip: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """See solver.ShapeTerm."""
        model = self.model if clip is None else self.model.shaped(clip)
        pixels, jacobian, by_clip = project_with_jacobian(model, unknowns, root, focal, centre, clip is not None)
        reached, farthest = (pixels @ self.directions.mT).max(1)  # [B,D]
        sigma = (NOISE * eyes)[:, None]
        residual = (reached - self.reach) / sigma
        ratio = residual**2 / CAUCHY**2
        weight = (self.weights / (1 + ratio)).sqrt()
        chain = self.directions * (weight / sigma)[..., None]

        def along(derivative: Tensor) -> Tensor:
            """[B,L,2,X] of the points -> [B,D,X] of the farthest ones, along the directions."""
            frames = torch.arange(len(derivative))[:, None]
            return (chain[..., None, :] @ derivative[frames, farthest])[..., 0, :]

        cost = (self.weights * CAUCHY**2 * torch.log1p(ratio)).sum(1)
        return cost, residual * weight, along(jacobian), None if by_clip is None else along(by_clip)

    def frames(self, rows: Tensor | slice) -> Outline:
        """See solver.ShapeTerm."""
        return replace(self, directions=self.directions[rows], reach=self.reach[rows], weights=self.weights[rows])


def make_outline(model: LandmarkModel, pixels: Tensor, rotations: Tensor, weight: float) -> Outline:
    """The term for landmarks [B,478,2] of frames whose heads are turned by about [B,3,3]; ``model`` of all 478.

    weight: how many times one measurement of the outline counts, shared by all frames.
    """
    rows = torch.tensor(pts.OVAL)
    yaw = torch.rad2deg(torch.atan2(rotations[:, 0, 2], rotations[:, 2, 2])).abs()
    believed = ((TURNED - yaw) / (TURNED - FRONTAL)).clamp(0, 1)
    angles = np.radians([-angle for angle in DIRECTIONS] + list(DIRECTIONS))
    fan = torch.as_tensor(np.stack([np.sin(angles), np.cos(angles)], -1), dtype=pixels.dtype)
    across = pixels[:, pts.LEFT_LIDS].mean(1) - pixels[:, pts.RIGHT_LIDS].mean(1)
    across = torch.nn.functional.normalize(across, dim=-1)  # the face's own right in the image, then down
    down = torch.stack([-across[:, 1], across[:, 0]], -1)
    directions = fan[None, :, :1] * across[:, None] + fan[None, :, 1:] * down[:, None]
    reach = (pixels[:, rows] @ directions.mT).amax(1)
    weights = believed[:, None].expand(-1, len(angles)) * (weight / ALIKE / len(pixels))
    return Outline(model.selected(rows), directions, reach, weights)
