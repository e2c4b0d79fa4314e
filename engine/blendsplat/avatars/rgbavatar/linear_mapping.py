# SPDX-License-Identifier: Apache-2.0
"""A linear map from features to weights as the avatar file's three layers, exactly, so that all that plays an MLP plays
it: y = relu(y) - relu(-y) with no rounding, and a second ReLU changes nothing of what is not negative.
"""

from __future__ import annotations

import torch
from torch import Tensor

Layer = tuple[Tensor, Tensor]  # weight [out,in], bias [out]


def three_layers(weight: Tensor, bias: Tensor) -> list[Layer]:
    """weight [K,D] and bias [K] of a linear map -> the layers of an MLP of hidden widths 2K, 2K with ReLU between."""
    count = len(weight)
    one = torch.eye(count, dtype=weight.dtype, device=weight.device)
    return [
        (torch.cat([weight, -weight]), torch.cat([bias, -bias])),
        (torch.eye(2 * count, dtype=weight.dtype, device=weight.device), bias.new_zeros(2 * count)),
        (torch.cat([one, -one], 1), bias.new_zeros(count)),
    ]


def linear_of(layers: list[Layer]) -> Layer | None:
    """The linear map whose ``three_layers`` these are; None for any other MLP."""
    count = len(layers[-1][0])
    weight, bias = layers[0][0][:count], layers[0][1][:count]
    made = three_layers(weight, bias)
    same = all(
        have.shape == want.shape and torch.equal(have, want)
        for pair, other in zip(layers, made, strict=True)
        for have, want in zip(pair, other, strict=True)
    )
    return (weight, bias) if same else None
