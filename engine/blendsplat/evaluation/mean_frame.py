# SPDX-License-Identifier: Apache-2.0
"""The frame that a clip shows on the average: none of its own, but in the middle of what an avatar learned from it."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from blendsplat.avatars.retarget import mean_rotation
from blendsplat.errors import InputError
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.model import HeadParams
from blendsplat.heads.performance import Performance


def mean_frame(performance: Performance, device: torch.device | str = "cpu") -> HeadParams:
    """One row of parameters: the means over the valid frames, of rotations the chordal ones. Raises InputError where no
    frame is valid."""
    if not performance.valid.any():
        raise InputError("No frame of the clip shows a tracked face; track it again.")
    params = performance.params(device)[torch.as_tensor(performance.valid, dtype=torch.bool, device=device)]
    rotations = {"root_pose", "neck_pose", "jaw_pose", "eyes_pose"}
    return HeadParams(
        **{
            item.name: (_mean_pose if item.name in rotations else _mean)(getattr(params, item.name))
            for item in fields(params)
        }
    )


def _mean(values: Tensor) -> Tensor:
    return values.mean(0, keepdim=True)


def _mean_pose(rotvecs: Tensor) -> Tensor:
    """[F,3] or [F,2,3] -> [1,3] or [1,2,3]."""
    matrices = rotvec_to_matrix(rotvecs.cpu())
    if matrices.dim() == 3:
        mean = mean_rotation(matrices)
    else:
        mean = torch.stack([mean_rotation(matrices[:, joint]) for joint in range(matrices.shape[1])])
    return matrix_to_rotvec(mean)[None].to(rotvecs)
