# SPDX-License-Identifier: Apache-2.0
"""What a real clip adds that is not the person: small errors of the tracked head pose, and a camera's auto-exposure.

Both are learned per training frame and thrown away after training; held-out frames are never corrected.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from blendsplat.avatars.avatar import Gaussians
from blendsplat.geometry import matrix_to_quat, quat_multiply, rotvec_to_matrix


class Corrections(nn.Module):
    """pose [M,6] (rotation vector about the head's centre, translation in metres), exposure [M,2] (log gain, bias)."""

    centre: Tensor

    def __init__(self, frames: int, centre: Tensor) -> None:
        super().__init__()
        self.pose = nn.Parameter(torch.zeros(frames, 6))
        self.exposure = nn.Parameter(torch.zeros(frames, 2))
        self.register_buffer("centre", centre)

    def move(self, gaussians: Gaussians, rows: list[int]) -> Gaussians:
        """Gaussians of the frames ``rows``, moved by their pose corrections (without the mean of all corrections, so
        that the avatar cannot drift away from its head)."""
        pose = (self.pose - self.pose.mean(0))[rows]
        rotation = rotvec_to_matrix(pose[:, :3])
        means = (gaussians.means - self.centre) @ rotation.transpose(1, 2) + self.centre + pose[:, None, 3:]
        quats = quat_multiply(matrix_to_quat(rotation)[:, None], gaussians.quats)
        return Gaussians(means, quats, gaussians.scales, gaussians.opacities, gaussians.colors)

    def expose(self, image: Tensor, alpha: Tensor, rows: list[int]) -> Tensor:
        """Premultiplied images [B,H,W,3] with gain and bias of their frames (without the mean over all frames)."""
        exposure = (self.exposure - self.exposure.mean(0))[rows]
        gain, bias = exposure[:, 0].exp()[:, None, None, None], exposure[:, 1][:, None, None, None]
        return image * gain + alpha * bias
