# SPDX-License-Identifier: Apache-2.0
"""HeadModel's forward pass for frames that nobody learns from, of a person's head on a CPU, in a tenth of the time.

Everything that is added to the template lies packed in one array, and skinning follows in the same sweep.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.splatting.buffers import address
from blendsplat.splatting.launch import launch_on
from blendsplat.splatting.playback import packs_of


class Posing:
    """Vertices of a personalised head (its shape built in) in float32, frame after frame."""

    def __init__(self, head: HeadModel) -> None:
        if head.shape_count:
            raise ValueError("head: expected a person's, with its shape built in")
        self._head, count = head, head.vertex_count
        directions = torch.cat([head.expression_directions, head.eyelid_directions, head.pose_directions])
        used = directions.flatten(1).any(1)  # heads whose expressions hold the lids have none of them
        self._used = used.nonzero()[:, 0]
        self._rest = packs_of(head.template)
        offsets = directions[self._used].permute(1, 2, 0).reshape(count, -1)  # [V, 3 D]
        self._offsets = packs_of(offsets)
        self._skin = packs_of(head.skin_weights)

    @staticmethod
    def suits(head: HeadModel) -> bool:
        """Whether there is a kernel for it."""
        template = head.template
        return template.device.type == "cpu" and template.dtype == torch.float32 and head.shape_count == 0

    @torch.no_grad()
    def __call__(self, params: HeadParams) -> Tensor:
        """Vertices [B,V,3]; the shape of ``params`` is not used."""
        head, batch = self._head, params.batch
        skinning, feature, _ = head.skinning(params)
        parts = (params.expression, params.eyelids, feature)
        coefficients = torch.cat([part.expand(batch, -1) for part in parts], 1)[:, self._used].float().contiguous()
        transforms = skinning[:, :, :3].float().contiguous()
        translation = params.translation.expand(batch, 3).float().contiguous()
        out = torch.empty(batch, head.vertex_count, 3)
        launch = launch_on(out.device)
        launch.kernels.pose_head(
            batch, head.vertex_count, len(self._used), address(self._rest), address(self._offsets), address(self._skin),
            address(coefficients), address(transforms), address(translation), address(out), *launch.queue,
        )  # fmt: skip
        return out
