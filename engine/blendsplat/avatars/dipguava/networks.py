# SPDX-License-Identifier: Apache-2.0
"""DipGuava's networks: U-Nets that draw UV maps, and an MLP that gives every texel a geometric residual.

The paper names them and no more (sections 4.1 and 4.2); layers and widths are choices, listed in docs/dipguava.md.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, silu

GROUPS = 8  # or fewer, where the channels are no multiple
LEVELS = (1, 2, 4, 8, 8)  # channels of each level, times the width; a level has half the size of the one before
COARSEST = 2 ** (len(LEVELS) - 1)  # a map's size must be a multiple of it


class _Convolutions(nn.Module):
    """Two 3x3 convolutions, each with GroupNorm and SiLU. BatchNorm would mean nothing at a batch of one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(gcd(GROUPS, outputs), outputs) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = silu(self.norms[0](self.first(x)))
        out: Tensor = silu(self.norms[1](self.second(x)))
        return out


class UNet(nn.Module):
    """A map [B,inputs,S,S] -> a map [B,outputs,S,S]; a condition [B,condition] joins at the bottleneck, on every texel
    of it. zero: the last layer starts at zero, so that the map does."""

    def __init__(self, inputs: int, outputs: int, width: int, condition: int = 0, *, zero: bool = False) -> None:
        super().__init__()
        sizes = [width * factor for factor in LEVELS]
        self.down = nn.ModuleList(_Convolutions(a, b) for a, b in zip([inputs, *sizes[:-1]], sizes, strict=True))
        self.condition = nn.Conv2d(sizes[-1] + condition, sizes[-1], 3, padding=1) if condition else None
        below = [*sizes[1:-1], sizes[-1]]
        self.up = nn.ModuleList(_Convolutions(low + here, here) for low, here in zip(below, sizes[:-1], strict=True))
        self.last = nn.Conv2d(sizes[0], outputs, 1)
        if zero:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        seen = []
        for level, block in enumerate(self.down):
            x = block(max_pool2d(x, 2) if level else x)
            seen.append(x)
        if self.condition is not None:
            assert condition is not None
            tiled = condition.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
            x = silu(self.condition(torch.cat([x, tiled], 1)))
        for block, skip in zip(reversed(list(self.up)), reversed(seen[:-1]), strict=True):
            wide = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([wide, skip], 1))
        out: Tensor = self.last(x)
        return out


class TexelMlp(nn.Module):
    """What every texel gets, each by itself: of where it lies on the head [T,P], its own input [B,T,C] where there is
    one, and the condition [B,D] -> [B,T,outputs]. The first layer's share of the place is the same in every frame, its
    share of the condition the same for every texel. zero: as in UNet."""

    def __init__(
        self, place: int, outputs: int, width: int, layers: int, condition: int = 0, own: int = 0, *, zero: bool = False
    ) -> None:
        super().__init__()
        self.place = nn.Linear(place, width)
        self.condition = nn.Linear(condition, width, bias=False) if condition else None
        self.own = nn.Linear(own, width, bias=False) if own else None
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 2))
        self.last = nn.Linear(width, outputs)
        if zero:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def forward(self, place: Tensor, condition: Tensor | None = None, own: Tensor | None = None) -> Tensor:
        x = self.place(place)[None]
        if self.condition is not None:
            assert condition is not None
            x = x + self.condition(condition)[:, None]
        if self.own is not None:
            assert own is not None
            x = x + self.own(own)
        for layer in self.hidden:
            x = layer(silu(x))
        out: Tensor = self.last(silu(x))
        return out


class MixedMaps(nn.Module):
    """Learned maps [K,C,S,S], mixed by what a small MLP makes of the condition [B,D] -> [B,C,S,S]: linear blendshapes
    in UV space, zero at first. They learn at once, texel by texel, what networks need long for."""

    def __init__(self, condition: int, count: int, size: int, outputs: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Sequential(nn.Linear(condition, width), nn.SiLU(), nn.Linear(width, count))
        self.maps = nn.Parameter(torch.zeros(count, outputs, size, size))

    def forward(self, condition: Tensor) -> Tensor:
        mixed: Tensor = self.weights(condition) @ self.maps.flatten(1)
        return mixed.view(len(condition), *self.maps.shape[1:])


def encoded_places(points: Tensor, frequencies: int) -> Tensor:
    """Points [T,3] -> [T, 3 + 6 * frequencies]: themselves, brought to [-1,1], and sines and cosines of them times pi,
    2 pi, 4 pi, ... (Mildenhall et al. 2020, eq. 4)."""
    low, high = points.amin(0), points.amax(0)
    unit = (points - (low + high) / 2) / ((high - low).amax() / 2).clamp_min(1e-9)
    octaves = torch.pi * 2.0 ** torch.arange(frequencies, device=points.device)
    angles = (unit[:, None] * octaves[:, None]).flatten(1)
    return torch.cat([unit, angles.sin(), angles.cos()], -1)


def encoded_size(frequencies: int) -> int:
    """Columns of encoded_places."""
    return 3 + 6 * frequencies
