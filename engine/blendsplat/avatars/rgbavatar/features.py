# SPDX-License-Identifier: Apache-2.0
"""The input of an avatar's MLP: one row per frame from expression and pose (RGBAvatar, eq. 2).

Its order is part of the avatar file (docs/formats.md), so that Blender can evaluate the MLP too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blendsplat.geometry import matrix_to_6d, rotvec_to_matrix
from blendsplat.heads.model import HeadModel, HeadParams


def feature_layout(head: HeadModel) -> list[tuple[str, int]]:
    """[name, size] of each part, in order; 129 values for a head with 100 expressions."""
    return [
        ("expression", head.expression_count), ("head_rotation", 6), ("jaw", 6), ("left_eye", 6), ("right_eye", 6),
        ("eyelids", 2), ("translation", 3),
    ]  # fmt: skip


def frame_features(params: HeadParams, origin: Tensor) -> Tensor:
    """Features [B,D] of B frames; origin [3] is the translation that the translation feature is relative to."""
    batch = params.batch
    head = rotvec_to_matrix(params.root_pose) @ rotvec_to_matrix(params.neck_pose)
    parts = [
        params.expression,
        matrix_to_6d(head),
        matrix_to_6d(rotvec_to_matrix(params.jaw_pose)),
        matrix_to_6d(rotvec_to_matrix(params.eyes_pose)).flatten(1),
        params.eyelids,
        params.translation - origin,
    ]
    return torch.cat([part.expand(batch, -1) for part in parts], 1)
