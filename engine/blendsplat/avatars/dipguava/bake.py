# SPDX-License-Identifier: Apache-2.0
"""A performance as its networks draw it, as few linear shapes: what Blender plays without networks.

Unlike the sliders (training/dipguava/distil.py), which move by a network of their own whatever the head does, a bake is
of given frames: every frame has its own weights, and all that a carrier holds moves, scales and opacities too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.avatars.dipguava.carrier import NUMBERS, Carried, DrivenHeads, bound, carried, carrier_of
from blendsplat.avatars.dipguava.low_rank import COLOR, TURN, low_rank, spread_rows
from blendsplat.avatars.dipguava.model import DipGuava
from blendsplat.avatars.rendering import render_gaussians
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.image_metrics.psnr_ssim import psnr
from blendsplat.progress import Progress
from blendsplat.splatting.bind import SH_DC
from blendsplat.splatting.scene import Gaussians

MOST_FRAMES = 1000  # that directions are found in; further ones are fitted with them
GROWTH, FADE = 0.3, 0.2  # steps of a log-scale and of an opacity that count as much as moving by one's own deviation


@dataclass
class Baked:
    """mean (one frame), basis (K), weights [M,K] from -1 to 1, errors [M]: the part of what moves that each frame
    leaves out, and error, of all frames (root mean square). carrier: what these Gaussians sit on."""

    mean: Carried
    basis: Carried
    weights: Tensor
    errors: Tensor
    error: float
    carrier: RGBAvatar

    def frame(self, row: int) -> Carried:
        """One frame's Gaussians as Blender adds them up."""
        weights = self.weights[row]
        moved = (torch.einsum("k,knc->nc", weights, part)[None] for part in self.basis.parts)
        return Carried(*(mean + part for mean, part in zip(self.mean.parts, moved, strict=True)))


@torch.no_grad()
def baked(avatar: DipGuava, heads: DrivenHeads, most: int, error: float, progress: Progress) -> Baked:
    """The frames of ``heads`` as the avatar's networks draw them, in at most ``most`` shapes, fewer where they leave
    out at most the part ``error`` of what moves. Raises Cancelled."""
    carrier = carrier_of(avatar, 1)
    rows = spread_rows(heads.batch, NUMBERS * avatar.gaussian_count, MOST_FRAMES, carrier.positions.device)

    def drawn(row: int) -> None:
        progress.update("drawing", row + 1, len(rows), f"frame {row + 1} of {len(rows)}")
        progress.check()

    held = carried(avatar, carrier, heads[rows], each=drawn)
    units = _units(held)
    progress.update("factorising", 0, heads.batch)
    found = low_rank(held.parts, units, most, error)
    mean = Carried(*(part[None] for part in found.means))
    place = {int(row): index for index, row in enumerate(rows.tolist())}
    weights, left, whole = [], [], []
    for row in range(heads.batch):
        progress.check()
        known = row in place
        frame = held[place[row]] if known else carried(avatar, carrier, heads[[row]], like=held.quats[0])
        moved = _weighed(frame, mean, units)
        own = found.weights[place[row]] if known else _fitted(moved, found.basis, units)
        rest = [
            part - torch.einsum("k,knc->nc", own, shape) * unit
            for part, shape, unit in zip(moved, found.basis, units, strict=True)
        ]
        weights.append(own)
        left.append(_energy(rest))
        whole.append(_energy(moved))
        progress.update("factorising", row + 1, heads.batch)
    return _scaled(mean, Carried(*found.basis), torch.stack(weights), torch.stack(left), torch.stack(whole), carrier)


@torch.no_grad()
def picture_scores(
    avatar: DipGuava, made: Baked, heads: DrivenHeads, rows: list[int], progress: Progress
) -> list[float]:
    """PSNR in dB of some frames as they were baked against the networks', over black, by the training camera."""
    camera, scores = avatar.camera, []

    def shown(gaussians: Gaussians) -> Tensor:
        return render_gaussians(gaussians, camera.viewmat, camera.K, camera.width, camera.height)[0]

    for index, row in enumerate(rows):
        progress.check()
        one = heads[[row]]
        mine = bound(made.frame(row), made.carrier, avatar.posed(one.params, one.vertices))
        scores.append(float(psnr(shown(mine), shown(one.driving(avatar)))[0]))
        progress.update("comparing", index + 1, len(rows))
    return scores


def compared_rows(made: Baked, count: int) -> list[int]:
    """Frames to look at: spread over all, and the one that lost most."""
    spread = torch.linspace(0, len(made.errors) - 1, min(count, len(made.errors))).round().long().tolist()
    return sorted({*spread, int(made.errors.argmax())})


def _units(held: Carried) -> tuple[Tensor, ...]:
    """What a step of each part counts: as distil's, and as it is where a Gaussian comes or goes."""
    size = held.log_scales.mean(0).exp().amax(-1, keepdim=True)
    seen = held.opacities.mean(0).sqrt()
    return seen / size, seen / GROWTH, seen / TURN, torch.full_like(seen, 1 / FADE), seen / (COLOR / SH_DC)


def _weighed(frame: Carried, mean: Carried, units: tuple[Tensor, ...]) -> list[Tensor]:
    """How one frame differs from the mean, weighed: [N,C] of each part."""
    return [(part - rest)[0] * unit for part, rest, unit in zip(frame.parts, mean.parts, units, strict=True)]


def _fitted(moved: list[Tensor], basis: tuple[Tensor, ...], units: tuple[Tensor, ...]) -> Tensor:
    """The weights [K] that come nearest to a weighed frame: the directions are orthogonal when they are weighed."""
    inner = along = moved[0].new_zeros(len(basis[0]), dtype=torch.float64)
    for part, shape, unit in zip(moved, basis, units, strict=True):
        weighed = (shape * unit).double()
        inner = inner + torch.einsum("knc,nc->k", weighed, part.double())
        along = along + weighed.square().sum((1, 2))
    return (inner / along.clamp_min(1e-30)).float()


def _energy(parts: list[Tensor]) -> Tensor:
    return torch.stack([part.double().square().sum() for part in parts]).sum()


def _scaled(mean: Carried, basis: Carried, weights: Tensor, left: Tensor, whole: Tensor, carrier: RGBAvatar) -> Baked:
    """With weights from -1 to 1, as a slider is read."""
    reach = weights.abs().amax(0).clamp_min(1e-12)
    shapes = Carried(*(part * reach[:, None, None] for part in basis.parts))
    total = whole.sum().clamp_min(1e-30)
    errors = (left / (total / len(left))).sqrt()
    return Baked(mean, shapes, weights / reach, errors.float(), float((left.sum() / total).sqrt()), carrier)
