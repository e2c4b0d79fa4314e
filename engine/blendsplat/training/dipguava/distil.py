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
from torch.nn.functional import normalize

from blendsplat.avatars.dipguava.model import DipGuava
from blendsplat.avatars.rgbavatar.model import RGBAvatar, features_of_colors
from blendsplat.geometry import quat_multiply
from blendsplat.heads.model import HeadParams
from blendsplat.splatting.bind import SH_DC
from blendsplat.training.rgbavatar.initialise import initialise_mlp
from blendsplat.training.spread import part_spread

MOST_NUMBERS = 2**28  # float32 of the frames' Gaussians to hold at once
MOST_FRAMES = 400
TURN, COLOR = 0.5, 0.2  # a quaternion's and a colour's step that counts as much as moving by one's own deviation
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
    empty = _carrier_of(avatar, 1)
    family = _family(avatar, empty, params[rows])
    basis, weights = _low_rank(family, most, error)
    made = _carrier_of(avatar, len(basis[0]))
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
    _note_ranges(made, params)
    return made


def _spread_rows(frames: int, gaussians: int, device: torch.device) -> Tensor:
    """Frames that are looked at: all of them, or as many as memory holds."""
    most = min(frames, MOST_FRAMES, max(MOST_NUMBERS // (10 * gaussians), 2))
    return torch.linspace(0, frames - 1, most, device=device).round().long()


def _carrier_of(avatar: DipGuava, blendshapes: int) -> RGBAvatar:
    """An RGBAvatar whose Gaussians sit at the centres of the same triangles."""
    thirds = torch.full((avatar.gaussian_count, 3), 1 / 3, device=avatar.triangle.device)
    made = RGBAvatar(
        avatar.head, avatar.triangle, thirds, avatar.camera, blendshapes=blendshapes, name=avatar.name
    )  # fmt: skip
    return made.to(thirds.device)


def _family(avatar: DipGuava, carrier: RGBAvatar, params: HeadParams) -> _Family:
    """The frames' Gaussians in the carrier's tangent frames."""
    rows = []
    for row in range(params.batch):
        one = params[[row]]
        gaussians, surface = avatar.drive(one), carrier.surface(avatar.vertices(one))
        frames = surface.frames[0, avatar.triangle]
        centres = surface.vertices[0, carrier.corners].mean(1)
        offsets = gaussians.means[0] - centres
        local = torch.linalg.solve(_regular(frames), offsets[..., None])[..., 0]
        back = surface.quats[0, avatar.triangle] * offsets.new_tensor([1.0, -1, -1, -1])
        turned = normalize(quat_multiply(back, gaussians.quats[0]), dim=-1)
        logs = gaussians.scales[0].clamp_min(1e-7).log()
        rows.append((local, turned, features_of_colors(gaussians.colors[0]), logs, gaussians.opacities[0]))
    positions, turned, colors, log_scales, opacities = (torch.stack(part) for part in zip(*rows, strict=True))
    turned = torch.where((turned * turned[:1]).sum(-1, keepdim=True) < 0, -turned, turned)
    return _Family(positions, turned, colors, log_scales.mean(0), opacities.mean(0))


def _regular(frames: Tensor) -> Tensor:
    """Tangent frames [N,3,3] of which none is singular: those of triangles without area become the identity."""
    flat = torch.linalg.det(frames).abs() < 1e-3
    return torch.where(flat[:, None, None], torch.eye(3).to(frames), frames)


def _low_rank(family: _Family, most: int, error: float) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """(basis of positions, quats and colours [K,N,3|4|3], the frames' weights [M,K]), the largest part first.

    What is moved by its own deviation, turned by TURN or coloured by COLOR counts alike, and all of it as much as the
    Gaussian is opaque."""
    size = family.log_scales.exp().amax(-1, keepdim=True)
    shown = family.opacities[:, None].sqrt()
    units = shown / size, shown / TURN, shown / (COLOR / SH_DC)
    moved = [
        ((part - part.mean(0)) * unit).flatten(1)
        for part, unit in zip((family.positions, family.quats, family.colors), units, strict=True)
    ]  # fmt: skip
    gram = sum((part @ part.mT).double() for part in moved)
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    left_out = 1 - values.cumsum(0) / values.sum().clamp_min(1e-30)
    enough = int((left_out > error**2).sum()) + 1
    count = max(min(enough, most, len(values) - 1), 1)
    strength = values[:count].sqrt().clamp_min(1e-12)
    directions = vectors[:, :count] / strength  # [M,K]: what of the frames' movement makes a unit direction
    spread = strength / max(len(values), 1) ** 0.5
    weights = (vectors[:, :count] * strength / spread).float()
    basis = tuple(
        torch.einsum("mk,mn->kn", (directions * spread).to(part.dtype), part.flatten(1)).view(count, *part.shape[1:])
        for part in (item - item.mean(0) for item in (family.positions, family.quats, family.colors))
    )
    return (basis[0], basis[1], basis[2]), weights


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


def _note_ranges(avatar: RGBAvatar, params: HeadParams) -> None:
    features = avatar.features(params)
    weights = avatar.weights_of(features)
    avatar.feature_range = torch.stack([features.amin(0), features.amax(0)])
    avatar.weight_range = torch.stack([weights.amin(0), weights.amax(0)])
