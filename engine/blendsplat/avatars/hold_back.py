# SPDX-License-Identifier: Apache-2.0
"""What an avatar was never shown, held back: numbers inside what training saw pass untouched, those beyond saturate.

Beyond an end (1 on the limiter's own scale) a number follows 1 + h (1 - exp(-e / h)), e being how far it lies beyond:
the slope is that of the identity at the end, so nothing jumps and nothing stops dead, and never more than h is added. h
is HEADROOM over the strength: at strength 1 a quarter of what was seen, at 0.5 a half, at 0 there is no end.

The add-on's scene/hold_back.py is the same in numpy; tests/avatars/test_hold_back.py holds the two against each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

HEADROOM = 0.25
RIDGE = 1e-3  # of a correlation of 1: what the covariance of few frames leaves open is taken for noise of that size
FLOOR = 1e-3  # of the largest: a weight that hardly ever moved still may, by so much


def left_of(beyond: Tensor, headroom: Tensor | float) -> Tensor:
    """What is left of ``beyond`` (>= 0), which ends at ``headroom`` (> 0): 0 at 0, with slope 1."""
    return -headroom * torch.expm1(-beyond / headroom)


def held_features(features: Tensor, seen: Tensor, strength: float) -> Tensor:
    """Raw features [B,D] with each held near its range ``seen`` [2,D]; at strength 0 they are returned as they are."""
    if strength <= 0:
        return features
    x, (low, high) = features.double(), seen.double()
    headroom = (HEADROOM / min(strength, 1.0) * (high - low) / 2).clamp_min(1e-12)
    above, below = (x - high).clamp_min(0), (low - x).clamp_min(0)
    held = x.clamp(low, high) + left_of(above, headroom) - left_of(below, headroom)
    return torch.where((above > 0) | (below > 0), held, x).to(features.dtype)


@dataclass(frozen=True)
class SeenWeights:
    """Which blendshape weights training saw: range [2,K], mean [K], covariance [K,K], and the largest Mahalanobis
    distance of a training frame. Of older files the range alone is known: ``of_range``."""

    range: Tensor
    mean: Tensor
    covariance: Tensor | None = None
    reach: float = 0.0

    @classmethod
    def of(cls, weights: Tensor) -> SeenWeights:
        """Of the training frames' weights [F,K], F >= 1."""
        exact = weights.detach().double()
        mean = exact.mean(0)
        covariance = ((exact - mean).T @ (exact - mean) / len(exact)).to(weights)
        seen = cls(torch.stack([weights.amin(0), weights.amax(0)]).detach(), mean.to(weights), covariance)
        return replace(seen, reach=float(seen.distance(exact).max()) if weights.shape[1] else 0.0)

    @classmethod
    def of_range(cls, seen: Tensor) -> SeenWeights:
        """Of a file that knows lowest and highest weights [2,K] and nothing else."""
        return cls(seen, seen.mean(0))

    def deviations(self) -> Tensor:
        """Standard deviation [K] of each weight; without a covariance a quarter of the range."""
        if self.covariance is None:
            return (self.range[1] - self.range[0]) / 4
        return self.covariance.diagonal().clamp_min(0).sqrt()

    def whitening(self) -> Tensor:
        """[K,K] float64: what turns a difference from the mean (a column) into one whose length is its Mahalanobis
        distance. Raises ValueError without a covariance."""
        if self.covariance is None:
            raise ValueError("covariance: this file has none")
        covariance = self.covariance.double()
        scale = _floored(covariance.diagonal().clamp_min(0).sqrt())
        correlation = covariance / (scale[:, None] * scale) + RIDGE * torch.eye(len(scale), device=scale.device)
        lower = torch.linalg.cholesky(correlation)
        return torch.linalg.solve_triangular(lower, torch.diag(1 / scale), upper=False)

    def distance(self, weights: Tensor) -> Tensor:
        """Mahalanobis distance [B] of weights [B,K] from the mean."""
        return ((weights.double() - self.mean.double()) @ self.whitening().T).norm(dim=1)

    def held(self, weights: Tensor, strength: float) -> Tensor:
        """Weights [B,K] held near those that were seen: along the ray from the mean, where neither a single weight nor
        the combination of all lies beyond what training saw. At strength 0 they are returned as they are."""
        if strength <= 0 or not weights.shape[1]:
            return weights
        away = weights.double() - self.mean.double()
        gauge = self.gauge(away)[:, None]
        beyond = (gauge - 1).clamp_min(0)
        part = (1 + left_of(beyond, HEADROOM / min(strength, 1.0))) / gauge.clamp_min(1.0)
        # near the border as a small step, so that what lies on it stays as it is to the bit
        held = torch.where(gauge < 2, weights.double() - (1 - part) * away, self.mean.double() + part * away)
        return held.to(weights.dtype)

    def gauge(self, away: Tensor) -> Tensor:
        """[B]: how far differences from the mean [B,K] reach, 1 at the border of what was seen."""
        mean, (low, high) = self.mean.double(), self.range.double()
        sides = _floored(torch.stack([mean - low, high - mean]).clamp_min(0))
        gauge = torch.maximum(away / sides[1], -away / sides[0]).amax(1)
        if self.covariance is not None and self.reach > 0:
            gauge = torch.maximum(gauge, (away @ self.whitening().T).norm(dim=1) / self.reach)
        return gauge


def _floored(sizes: Tensor) -> Tensor:
    return sizes.clamp_min(max(FLOOR * float(sizes.max()), 1e-9)) if sizes.numel() else sizes
