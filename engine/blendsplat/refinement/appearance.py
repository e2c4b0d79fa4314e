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
USUAL_LIGHT = 0.15  # one sigma of a light's coefficients around (1, 0, ..., 0)
CAUCHY = 3.0


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
    shade = torch.ones(frames, count)
    albedo = _albedo(colours, shade, weights)
    light = torch.zeros(frames, 9)
    trusted = weights
    for _ in range(ROUNDS):
        light = _lights(colours, basis, albedo, trusted / noise**2)
        shade = (basis @ light[..., None])[..., 0].clamp_min(0.05)
        albedo = _albedo(colours, shade, trusted)
        away = (colours - albedo * shade[..., None]).square().mean(-1)
        noise = _noise(away, trusted)
        trusted = weights / (1 + away / (CAUCHY * noise) ** 2)
    return Appearance(albedo, noise, light, weights.sum(0))


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


def _noise(squared: Tensor, weights: Tensor) -> Tensor:
    """[N] from mean squared misses [F,N]; a sample seldom seen is taken for an ordinary one."""
    usual = 2.0  # frames that ORDINARY counts for
    mean = ((weights * squared).sum(0) + usual * ORDINARY**2) / (weights.sum(0) + usual)
    return (mean + FLOOR**2).sqrt()
