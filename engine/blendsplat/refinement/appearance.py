# SPDX-License-Identifier: Apache-2.0
"""What the samples of a person look like over a clip: one colour each, and per frame a light of low order.

colour[f,i] ~ albedo[i] * shade[f,i], shade[f,i] = sum_k light[f,k] Y_k(normal[f,i]) with the nine spherical harmonics
up to order 2 (Ramamoorthi and Hanrahan 2001), of which the constant is the frame's exposure. How far a sample strays
from that over the clip is its noise: hair that moves, a fringe, glasses and beard lose their say by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from blendsplat.geometry import harmonics

ROUNDS = 3
FLOOR = 0.025  # a sample's least noise (of 1): sensor, compression, interpolation
ORDINARY = 0.06  # what a sample's noise is taken for before it was seen often
USUAL_BRIGHTNESS, DARKEST = 0.5, 0.25  # of a face, for which the above are stated; less noise than a quarter is none
USUAL_LIGHT = 0.15  # one sigma of a light's coefficients around (1, 0, ..., 0)
CAUCHY = 3.0
MANY = 8  # pictures of a face that tell what is usual of it; fewer may each have a light of their own
DIM = 0.1  # brightness, of USUAL_BRIGHTNESS's face, below which a sample tells no exposure
MEDIAN_FRAMES = 61
MEDIAN_OF_THREE = 0.789  # median over mean of the mean square of three normal deviates


@dataclass
class Appearance:
    """albedo [N,3], noise [N], light [F,9]; seen [N] how often each sample was seen, in whole frames."""

    albedo: Tensor
    noise: Tensor
    light: Tensor
    seen: Tensor

    def shade(self, normals: Tensor, rows: Tensor | slice) -> Tensor:
        """Normals [B,N,3] of the frames ``rows`` -> [B,N]."""
        return (harmonics(normals) @ self.light[rows][..., None])[..., 0]


def learn_appearance(colours: Tensor, normals: Tensor, weights: Tensor) -> Appearance:
    """Learn from colours [F,N,3] of the samples in each frame, unit normals [F,N,3] and weights [F,N] of sight."""
    basis = harmonics(normals)
    frames, count = weights.shape
    noise = torch.full((count,), ORDINARY)
    albedo = _usual_colours(colours, weights)
    bright = albedo[weights.sum(0) > 0]
    level = float((bright.median() / USUAL_BRIGHTNESS).clamp(DARKEST, 1.0)) if len(bright) else 1.0
    noise = noise * level
    light = torch.zeros(frames, 9)
    trusted = _like_usual(colours, albedo, weights, level) if frames >= MANY else weights
    for _ in range(ROUNDS):
        light = _lights(colours, basis, albedo, trusted / noise**2)
        shade = (basis @ light[..., None])[..., 0].clamp_min(0.05)
        away = (colours - albedo * shade[..., None]).square().mean(-1)
        noise = _noise(away, weights, level)
        trusted = weights / (1 + away / (CAUCHY * noise) ** 2) ** 2
        albedo = _albedo(colours, shade, trusted)
    return Appearance(albedo, noise, light, weights.sum(0))


def _usual_colours(colours: Tensor, weights: Tensor) -> Tensor:
    """[N,3]: medians over spread frames, so that a hand in a third of them leaves no trace; 0 where never seen."""
    rows, seen = _spread(weights)
    found: Tensor = torch.where(seen[..., None], colours[rows], torch.nan).nanmedian(0).values.nan_to_num(0.0)
    return found


def _like_usual(colours: Tensor, albedo: Tensor, weights: Tensor, level: float) -> Tensor:
    """weights [F,N] lowered where a frame's median exposure leaves a sample far from its usual colour: what covers a
    third of the face must not be taken for the light on the rest."""
    known = (weights > 0) & (albedo.mean(-1) > DIM * level)
    ratio = torch.where(known, colours.mean(-1) / albedo.mean(-1).clamp_min(1e-6), torch.nan)
    exposure = ratio.nanmedian(1).values.nan_to_num(1.0)
    away = (colours - albedo * exposure[:, None, None]).square().mean(-1)
    lowered: Tensor = weights / (1 + away / (CAUCHY * level * ORDINARY) ** 2) ** 2
    return lowered


def _albedo(colours: Tensor, shade: Tensor, weights: Tensor) -> Tensor:
    share = (weights * shade)[..., None]
    return (share * colours).sum(0) / (share * shade[..., None]).sum(0).clamp_min(1e-6)


def _lights(colours: Tensor, basis: Tensor, albedo: Tensor, precision: Tensor) -> Tensor:
    """[F,9]: the light that turns albedo into each frame's colours, pulled to an even one."""
    even = torch.zeros(9)
    even[0] = 1
    prior = torch.full((9,), 1 / USUAL_LIGHT**2)
    prior[0] = 1.0
    weighted = basis * (precision * albedo.square().sum(-1))[..., None]
    normal = weighted.mT @ basis + torch.diag(prior)
    wanted = basis.mT @ (precision * (colours * albedo).sum(-1))[..., None] + (prior * even)[:, None]
    return torch.linalg.solve(normal, wanted)[..., 0]


def _noise(squared: Tensor, weights: Tensor, level: float) -> Tensor:
    """[N] from mean squared misses [F,N]: their median, which a hand in a third of the frames does not lift; a sample
    seldom seen is taken for an ordinary one."""
    usual = 2.0  # frames that ORDINARY counts for
    rows, seen = _spread(weights)
    median = torch.where(seen, squared[rows], torch.nan).nanmedian(0).values.nan_to_num(0.0) / MEDIAN_OF_THREE
    count = weights.sum(0)
    mean = (count * median + usual * (level * ORDINARY) ** 2) / (count + usual)
    return (mean + (level * FLOOR) ** 2).sqrt()


def _spread(weights: Tensor) -> tuple[Tensor, Tensor]:
    """At most MEDIAN_FRAMES rows over all frames, and which samples are seen there."""
    rows = torch.linspace(0, len(weights) - 1, min(len(weights), MEDIAN_FRAMES)).round().long()
    return rows, weights[rows] > 0.2 * weights.amax(0).clamp_min(1e-6)
