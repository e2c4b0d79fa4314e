# SPDX-License-Identifier: Apache-2.0
"""What moves over many frames, as few directions: the largest singular vectors of frames that are weighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MOST_NUMBERS = 2**28  # float32 of the frames' Gaussians to hold at once
TURN, COLOR = 0.5, 0.2  # a quaternion's and a colour's step that counts as much as moving by one's own deviation


@dataclass
class LowRank:
    """means [N,C] and basis [K,N,C] of each part, the frames' weights [M,K] (of the size of one), the largest first."""

    means: tuple[Tensor, ...]
    basis: tuple[Tensor, ...]
    weights: Tensor


def spread_rows(frames: int, numbers: int, most: int, device: torch.device) -> Tensor:
    """Frames that are looked at: all of them, or spread over them at most ``most`` and as many as memory holds, where a
    frame has ``numbers`` float32."""
    count = min(frames, most, max(MOST_NUMBERS // numbers, 2))
    return torch.linspace(0, frames - 1, count, device=device).round().long()


def low_rank(parts: Sequence[Tensor], units: Sequence[Tensor], most: int, error: float) -> LowRank:
    """Of parts [M,N,C]: at most ``most`` directions, fewer where they leave out at most the part ``error`` of what
    moves (root mean square). units [N,C] or [N,1] of each part: what a step counts."""
    gram = torch.stack([_gram(part, unit) for part, unit in zip(parts, units, strict=True)]).sum(0)
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    left_out = 1 - values.cumsum(0) / values.sum().clamp_min(1e-30)
    enough = int((left_out > error**2).sum()) + 1
    count = max(min(enough, most, len(values) - 1), 1)
    strength = values[:count].sqrt().clamp_min(1e-12)
    spread = strength / max(len(values), 1) ** 0.5
    directions = vectors[:, :count] / strength * spread  # [M,K]: what of the frames' movement makes a direction
    weights = (vectors[:, :count] * strength / spread).float()
    means = tuple(part.mean(0) for part in parts)
    basis = tuple(
        torch.einsum("mk,mn->kn", directions.to(part.dtype), (part - mean).flatten(1)).view(count, *mean.shape)
        for part, mean in zip(parts, means, strict=True)
    )
    return LowRank(means, basis, weights)


def _gram(part: Tensor, unit: Tensor) -> Tensor:
    """Products of the frames' weighed movements [M,M]."""
    moved = ((part - part.mean(0)) * unit).flatten(1)
    return (moved @ moved.mT).double()
