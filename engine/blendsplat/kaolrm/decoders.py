# SPDX-License-Identifier: Apache-2.0
"""What a triplane is read with: the FLAME decoder (coefficients of the head) and the Gaussian decoder (appearance).

Parameter names are the released checkpoint's. Both run in float32 whatever surrounds them: half precision loses small
expressions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, normalize, softplus

from blendsplat.kaolrm.config import Config
from blendsplat.kaolrm.conventions import FOCAL

MINIMUM_SCALE = 0.1
_SPREAD = 0.5  # factor of the Gaussians' scales
_SATURATION = 0.001  # colours are a sigmoid stretched by this much past 0 and 1 (KaoLRM, section 3.3)
# Where untrained decoders start, for FOCAL: a head of FLAME's size (0.3 m) fills the frame, and each of some thousand
# Gaussians covers its share of the surface.
_TYPICAL_SCALE = 5.0
_TYPICAL_SPREAD = 0.02


def exact(x: Tensor) -> Tensor:
    """x in float32 or, where it is that, in float64."""
    return x if x.dtype == torch.float64 else x.float()


class ChannelGate(nn.Module):
    """Squeeze-and-excitation over the channels of a vector: x sigmoid(W2 relu(W1 x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x)


class FlameDecoder(nn.Module):
    """The planes' means over their channels [B,3*2R*2R] -> raw coefficients [B,S+E+10].

    The paper (section 3.2) gates every token by its own score; the released model gates channels of the second layer
    instead. ``token_gate`` adds the paper's: a small MLP on each token gives the share of it that is read.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        first, second, third = config.flame_widths
        self.decoder = nn.Sequential(
            nn.Linear(3 * config.triplane_high_res**2, first),
            nn.GELU(),
            nn.Linear(first, second),
            nn.GELU(),
            ChannelGate(second, max(1, second // config.flame_gate_reduction)),
            nn.Linear(second, third),
            nn.GELU(),
            nn.Linear(third, config.parameter_count),
        )
        if config.token_gate:
            width = config.transformer_dim
            self.token_gate = nn.Sequential(
                nn.Linear(width, max(1, width // 8)), nn.GELU(), nn.Linear(max(1, width // 8), 1)
            )
        self._initialise(config)

    def forward(self, means: Tensor) -> Tensor:
        with torch.autocast(means.device.type, enabled=False):
            return self.decoder(exact(means))

    def gate(self, tokens: Tensor) -> Tensor | None:
        """Each token's share [B,N,1], or None for a model without token gates."""
        if not hasattr(self, "token_gate"):
            return None
        with torch.autocast(tokens.device.type, enabled=False):
            return torch.sigmoid(self.token_gate(exact(tokens)))

    def _initialise(self, config: Config) -> None:
        """Untrained, every image gives nearly the mean head at a size that fills the frame."""
        last = cast(nn.Linear, self.decoder[-1])
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            last.bias[config.scale_column] = _before_softplus(_TYPICAL_SCALE, config)


def _before_softplus(size: float, config: Config) -> float:
    """What softplus turns into ``size``, which is FOCAL's, as long cameras see it: they stand as near."""
    return math.log(math.expm1(size * FOCAL / config.focal))


def split_coefficients(raw: Tensor, config: Config) -> dict[str, Tensor]:
    """Raw [B,S+E+10] -> shape [B,S], expression [B,E], pose [B,6] (global and jaw rotation vectors, radians),
    scale [B,1] (at least 0.1), translation [B,3]."""
    shape, expression, pose, scale, translation = raw.split(config.coefficient_sizes, -1)
    return {
        "shape": shape,
        "expression": expression,
        "pose": pose,
        "scale": softplus(scale).clamp(min=MINIMUM_SCALE),
        "translation": translation,
    }


@dataclass
class SurfaceGaussians:
    """What the decoder says about N points [B,N,...]; the points themselves are the Gaussians' means, unmoved."""

    opacities: Tensor  # [B,N,1] in (0,1)
    scales: Tensor  # [B,N,3]; a flat Gaussian uses the first two
    quats: Tensor  # [B,N,4] wxyz, unit
    colors: Tensor  # [B,N,3], a hair past [0,1]


class GaussianDecoder(nn.Module):
    """Triplane features at surface points -> Gaussian attributes (KaoLRM, section 3.3)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.gaussian_width
        net = nn.Sequential(
            nn.Linear(3 * config.triplane_dim, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 11),
        )
        self.decoder = nn.ModuleDict({"net": net})
        with torch.no_grad():
            cast(nn.Linear, net[-1]).bias[1:4] = _before_softplus(_TYPICAL_SPREAD / _SPREAD, config)

    def forward(self, planes: Tensor, points: Tensor, focal: float) -> SurfaceGaussians:
        """planes [B,3,D,R,R], points [B,N,3] in world units -> attributes of the N Gaussians."""
        return activate(self.raw(sample_planes(planes, points, focal)))

    def raw(self, features: Tensor) -> Tensor:
        """Samples [B,3,N,D] -> [B,N,11]: opacity, three scales, quaternion, rgb, before their activations."""
        with torch.autocast(features.device.type, enabled=False):
            return self.decoder["net"](exact(features).transpose(1, 2).flatten(2))


def sample_planes(planes: Tensor, points: Tensor, focal: float) -> Tensor:
    """planes [B,3,D,R,R], points [B,N,3] -> bilinear samples [B,3,N,D], zero outside.

    The planes lie in axes (x, -z, y) of the world, laid out for FOCAL and scaled with any other. They hold (x,y), (x,z)
    and (z,y).
    """
    x, y, z = (points * (focal / FOCAL)).unbind(-1)
    first, second, third = x, -z, y
    grid = torch.stack(
        [torch.stack(pair, -1) for pair in ((first, second), (first, third), (third, second))], 1
    )  # [B,3,N,2]
    samples = grid_sample(planes.flatten(0, 1), grid.flatten(0, 1)[:, None], align_corners=False)
    return samples[:, :, 0].transpose(1, 2).unflatten(0, (-1, 3))


def activate(raw: Tensor) -> SurfaceGaussians:
    """[B,N,11] -> Gaussian attributes."""
    opacity, scales, quats, colors = raw.split((1, 3, 4, 3), -1)
    return SurfaceGaussians(
        opacities=torch.sigmoid(opacity),
        scales=_SPREAD * softplus(scales),
        quats=normalize(quats, dim=-1),
        colors=torch.sigmoid(colors) * (1 + 2 * _SATURATION) - _SATURATION,
    )
