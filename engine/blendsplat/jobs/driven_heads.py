# SPDX-License-Identifier: Apache-2.0
"""What a client says of the heads that drive an avatar: the arrays of ``avatar.drive`` and of the job "bake"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendsplat.errors import InputError
from blendsplat.jobs.arrays import Arrays, Shape, checked_floats

if TYPE_CHECKING:
    from torch import Tensor

    from blendsplat.heads.model import HeadParams

_SHAPES: dict[str, Shape] = {
    "expression": ("B", "E"), "root_pose": ("B", 3), "neck_pose": ("B", 3), "jaw_pose": ("B", 3),
    "eyes_pose": ("B", 2, 3), "eyelids": ("B", 2), "translation": ("B", 3),
}  # fmt: skip
VERTICES = "vertices"


def checked_heads(method: str, arrays: Arrays) -> Arrays:
    """Head parameters of B frames (as HeadParams, without shape) and, where they are there, ``vertices`` [B,V,3], as
    float32. Raises InputError for missing, wrongly shaped or non-finite arrays, and for no frame at all."""
    shapes = _SHAPES | ({VERTICES: ("B", "V", 3)} if VERTICES in arrays else {})
    checked = checked_floats(method, arrays, shapes)
    if not len(checked["expression"]):
        raise InputError(f"{method} needs at least one frame; the attachments are empty.")
    return checked


def head_tensors(heads: Arrays, device: str) -> tuple[HeadParams, Tensor | None]:
    """What ``checked_heads`` gave as Avatar.drive takes it: the parameters, and the vertices where they were told."""
    import torch

    from blendsplat.heads.model import HeadParams

    tensors = {name: torch.from_numpy(array).to(device) for name, array in heads.items()}
    vertices = tensors.pop(VERTICES, None)
    return HeadParams(shape=torch.zeros(1, 0, device=device), **tensors), vertices
