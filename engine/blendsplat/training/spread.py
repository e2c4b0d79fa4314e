# SPDX-License-Identifier: Apache-2.0
"""How far a network's inputs go in a clip, part by part."""

from __future__ import annotations

import torch
from torch import Tensor


def part_spread(features: Tensor, layout: list[tuple[str, int]]) -> Tensor:
    """[D]: one standard deviation per part of the layout, so that values within a part keep their proportions and what
    hardly moves in the clip is not blown up."""
    spreads, start = [], 0
    for _, size in layout:
        part = features[:, start : start + size]
        spread = part.std(0, unbiased=False).square().mean().sqrt() if size else features.new_tensor(1.0)
        spreads.append(spread.clamp_min(0.02).expand(size))
        start += size
    return torch.cat(spreads)
