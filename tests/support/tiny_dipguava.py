# SPDX-License-Identifier: Apache-2.0
"""A DipGuava on the tiny head, small enough for tests, whose networks say something."""

from __future__ import annotations

from typing import Any

import torch

from blendsplat.avatars.dipguava.model import DipGuava
from blendsplat.avatars.dipguava.settings import DipGuavaSettings
from blendsplat.heads.model import HeadModel
from tiny_clip import tiny_camera, tiny_head

TINY: dict[str, Any] = {"uv_size": 16, "unet_width": 4, "mlp_width": 8, "mlp_layers": 3, "frequencies": 2}


def own_head() -> HeadModel:
    """The tiny head without shape parameters, as avatars have it."""
    head = tiny_head()
    return head.personalise(torch.zeros(head.shape_count))


@torch.no_grad()
def tiny_dipguava(head: HeadModel | None = None, *, started: bool = False, per_face: int = 1, **settings) -> DipGuava:
    """Random Gaussians near the triangles and random networks. started: networks as they are before training, where
    the residual's last layers are zero. per_face: Gaussians of a triangle."""
    torch.manual_seed(4)
    head = own_head() if head is None else head
    triangle = torch.arange(len(head.faces)).repeat(per_face)
    avatar = DipGuava(head, triangle, tiny_camera(), DipGuavaSettings.model_validate(TINY | settings), "tiny")
    avatar.positions.normal_(0, 0.3)
    avatar.log_scales.normal_(-1, 0.3)
    avatar.quats.normal_()
    avatar.condition_shift.normal_(0, 0.2)
    avatar.condition_scale.uniform_(0.5, 2)
    reach = torch.ones_like(avatar.condition_shift)
    avatar.condition_range = torch.stack([-reach, reach])
    if started:
        return avatar
    for network in avatar.networks().values():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return avatar
