# SPDX-License-Identifier: Apache-2.0
"""A trained DipGuava as reduced Gaussian blendshapes: what Blender can move with shape keys.

Its Gaussians in the clip's frames, written in RGBAvatar's carrier (a tangent frame, no size), are nearly a linear
family: the largest singular vectors of what moves become blendshapes, and a small MLP learns their weights from the
frames' features. Training both on the pictures once more was tried: up to a decibel better on held-out frames, and
mottled skin wherever the performance left the clip's (d9: LPIPS .056 instead of .044).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.avatars.dipguava.carrier import NUMBERS, DrivenHeads, carried, carrier_of
from blendsplat.avatars.dipguava.low_rank import COLOR, TURN, low_rank, spread_rows
from blendsplat.avatars.dipguava.model import DipGuava
from blendsplat.avatars.rgbavatar.key_effects import places_and_shares
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.heads.model import HeadParams
from blendsplat.splatting.bind import SH_DC
from blendsplat.training.rgbavatar.initialise import initialise_mlp
from blendsplat.training.spread import part_spread

MOST_FRAMES = 400
MLP_STEPS, MLP_RATE = 1500, 2e-3
LEAST_ALPHA, MOST_ALPHA = 0.002, 0.98


@dataclass
class _Family:
    """The Gaussians of M frames in the carrier's terms: positions, quats, colors (SH-DC) [M,N,3|4|3]; log_scales [N,3]
    and opacities [N] of all frames."""

    positions: Tensor
    quats: Tensor
    colors: Tensor
    log_scales: Tensor
    opacities: Tensor


@torch.no_grad()
def distilled(avatar: DipGuava, params: HeadParams, most: int, error: float) -> RGBAvatar:
    """Blendshapes, at most ``most``, that leave out at most the part ``error`` of what moves (root mean square)."""
    rows = _spread_rows(params.batch, avatar.gaussian_count, params.expression.device)
    empty = carrier_of(avatar, 1)
    family = _family(avatar, empty, params[rows])
    basis, weights = _low_rank(family, most, error)
    made = carrier_of(avatar, len(basis[0]))
    made.positions.copy_(family.positions.mean(0))
    made.quats.copy_(family.quats.mean(0))
    made.colors.copy_(family.colors.mean(0))
    made.log_scales.copy_(family.log_scales)
    made.opacity_logits.copy_(torch.logit(family.opacities.clamp(LEAST_ALPHA, MOST_ALPHA)))
    for name, value in zip(("delta_positions", "delta_quats", "delta_colors"), basis, strict=True):
        getattr(made, name).copy_(value)
    made.feature_origin.copy_(params.translation.expand(params.batch, -1)[0])
    features = made.features(params[rows])
    made.feature_shift.copy_(features.mean(0))
    made.feature_scale.copy_(1 / part_spread(features, made.layout))
    _fit_mlp(made, features, weights)
    made.note_seen(made.features(params))
    made.key_places = places_and_shares(made)
    return made


def _spread_rows(frames: int, gaussians: int, device: torch.device) -> Tensor:
    """Frames that are looked at: all of them, or as many as memory holds."""
    return spread_rows(frames, NUMBERS * gaussians, MOST_FRAMES, device)


def _family(avatar: DipGuava, carrier: RGBAvatar, params: HeadParams) -> _Family:
    """The frames' Gaussians in the carrier's tangent frames."""
    frames = carried(avatar, carrier, DrivenHeads(params))
    log_scales, opacities = frames.log_scales.mean(0), frames.opacities[..., 0].mean(0)
    return _Family(frames.positions, frames.quats, frames.colors, log_scales, opacities)


def _low_rank(family: _Family, most: int, error: float) -> tuple[tuple[Tensor, ...], Tensor]:
    """(basis of positions, quats and colours [K,N,3|4|3], the frames' weights [M,K]), the largest part first.

    What is moved by its own deviation, turned by TURN or coloured by COLOR counts alike, and all of it as much as the
    Gaussian is opaque."""
    size = family.log_scales.exp().amax(-1, keepdim=True)
    shown = family.opacities[:, None].sqrt()
    units = shown / size, shown / TURN, shown / (COLOR / SH_DC)
    found = low_rank((family.positions, family.quats, family.colors), units, most, error)
    return found.basis, found.weights


@torch.enable_grad()
def _fit_mlp(avatar: RGBAvatar, features: Tensor, weights: Tensor) -> None:
    """The MLP, from scratch, to the frames' weights [M,K]."""
    initialise_mlp(avatar.mlp.cpu(), torch.Generator().manual_seed(0))
    avatar.mlp.to(features.device)
    optimiser = torch.optim.AdamW(avatar.mlp.parameters(), MLP_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, MLP_STEPS)
    for _ in range(MLP_STEPS):
        optimiser.zero_grad()
        (avatar.weights_of(features) - weights).square().mean().backward()
        optimiser.step()
        schedule.step()
