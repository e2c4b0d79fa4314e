# SPDX-License-Identifier: Apache-2.0
"""A personalised head as the ``rig.*`` arrays of the avatar file, and back: the avatar carries its own head with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from blendsplat.errors import InputError
from blendsplat.heads.families import family_of_vertices
from blendsplat.heads.model import HeadModel

_FLOATS = (
    "template", "uvs", "expression_directions", "eyelid_directions", "pose_directions", "joints",
    "joint_expression_directions", "skin_weights",
)  # fmt: skip
_INDICES = ("faces", "uv_faces")


def rig_arrays(head: HeadModel) -> dict[str, np.ndarray]:
    """The arrays of a personalised head (HeadModel.personalise), named as in docs/formats.md."""
    if head.shape_count:
        raise InputError(f"The head {head.name!r} still has {head.shape_count} shape parameters; personalise it first.")
    floats = {f"rig.{name}": getattr(head, name).detach().cpu().numpy().astype(np.float32) for name in _FLOATS}
    indices = {f"rig.{name}": getattr(head, name).cpu().numpy().astype(np.int32) for name in _INDICES}
    return floats | indices


def head_of_rig(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> HeadModel:
    """The personalised head of an avatar's header and arrays. Regions and landmarks are not kept."""
    tensors: dict[str, Any] = {name: torch.from_numpy(arrays[f"rig.{name}"].astype(np.float32)) for name in _FLOATS}
    tensors |= {name: torch.from_numpy(arrays[f"rig.{name}"].astype(np.int64)) for name in _INDICES}
    low, high = meta["expression_range"]
    return HeadModel(
        name=str(meta["head"]),
        shape_directions=torch.zeros(0, len(tensors["template"]), 3),
        joint_shape_directions=torch.zeros(0, 5, 3),
        expression_names=tuple(meta["expression_names"]),
        expression_range=(float(low), float(high)),
        family=family_of_vertices(len(tensors["template"])),
        **tensors,
    )
