# SPDX-License-Identifier: Apache-2.0
"""How far a Gaussian may go from its triangle, and how long it may grow: where pictures from the front leave that open,
it becomes a needle or floats, which is seen as soon as the camera moves.

GaussianAvatars and DipGuava have thresholds in their loss; here a value beyond one is put back after each step, so that
a threshold is kept whatever the pictures say. Hair stands off the head and skin does not: each has limits of its own.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.heads.model import HeadModel
from blendsplat.training.rgbavatar.preset import RGBAvatarPreset

INSIDE = ("mouth_interior", "left_eyeball", "right_eyeball", "teeth_upper", "teeth_lower", "tongue")
_SKIN = ("face", "nose", "lips", *INSIDE)
_HAIR = ("scalp", "neck")  # what hair may grow from or hang over, where regions overlap
_UNLIMITED = 1e6  # metres


class Limits:
    """The preset's limits for an avatar's N Gaussians, on its device."""

    def __init__(self, avatar: RGBAvatar, preset: RGBAvatarPreset) -> None:
        skin = on_region(avatar.head, avatar.corners, _SKIN) & ~on_region(avatar.head, avatar.corners, _HAIR)

        def each(on_skin: float, elsewhere: float) -> Tensor:
            return torch.where(skin, on_skin or _UNLIMITED, elsewhere or _UNLIMITED)

        self._distance = each(preset.skin_distance, preset.hair_distance)
        self._log_scale = each(preset.skin_scale, preset.hair_scale).log()[:, None]
        self._positions, self._log_scales = avatar.positions.detach(), avatar.log_scales.detach()

    @staticmethod
    def of(avatar: RGBAvatar, preset: RGBAvatarPreset) -> Limits | None:
        """None where the preset has none."""
        wanted = (preset.skin_distance, preset.hair_distance, preset.skin_scale, preset.hair_scale)
        return Limits(avatar, preset) if any(wanted) else None

    @torch.no_grad()
    def keep(self) -> None:
        """Bring the avatar's positions and log-scales back inside, in place."""
        distance = self._positions.norm(dim=1).clamp_min_(math.ulp(1.0))
        self._positions.mul_((self._distance / distance).clamp_max_(1.0)[:, None])
        torch.minimum(self._log_scales, self._log_scale, out=self._log_scales)


def on_region(head: HeadModel, corners: Tensor, names: tuple[str, ...]) -> Tensor:
    """bool [N]: most corners [N,3] (vertices of the head) lie in one of these regions; none does of a head without."""
    inside = torch.zeros(head.vertex_count, device=corners.device)
    for name in names:
        inside[torch.as_tensor(np.asarray(head.regions.get(name, ()), np.int64), device=corners.device)] = 1
    return inside[corners].mean(1) > 0.5
