# SPDX-License-Identifier: GPL-3.0-or-later
"""What an avatar was never shown, held back: numbers inside what training saw pass untouched, those beyond saturate.

The same as the engine's avatars/hold_back.py, in numpy; tests/avatars/test_hold_back.py holds the two against each
other. A strength may differ from frame to frame, because an artist can key it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..formats import AvatarFile

HEADROOM = 0.25  # of what was seen: how far beyond it a strength of 1 lets go
RIDGE = 1e-3
FLOOR = 1e-3
UNKNOWN = "Its file does not say what its clip showed, so nothing holds it back: train it again, or add it again."
Strength = float | np.ndarray  # 0 to 1, or [B] of them


def left_of(beyond: np.ndarray, headroom: np.ndarray) -> np.ndarray:
    """What is left of ``beyond`` (>= 0), which ends at ``headroom`` (> 0): 0 at 0, with slope 1."""
    return -headroom * np.expm1(-beyond / headroom)


def held_features(features: np.ndarray, seen: np.ndarray, strength: Strength) -> np.ndarray:
    """Raw features [B,D] with each held near its range ``seen`` [2,D]; where the strength is 0, as they are."""
    strengths = _column(strength, len(features))
    if not (strengths > 0).any():
        return features
    x, (low, high) = features.astype(float), seen.astype(float)
    headroom = np.maximum(_headroom(strengths) * (high - low) / 2, 1e-12)
    above, below = np.maximum(x - high, 0), np.maximum(low - x, 0)
    held = np.clip(x, low, high) + left_of(above, headroom) - left_of(below, headroom)
    return np.where((strengths > 0) & ((above > 0) | (below > 0)), held, x).astype(features.dtype)


@dataclass(frozen=True)
class SeenWeights:
    """Which blendshape weights training saw: range [2,K], mean [K], and ``whitening`` [K,K], by which a difference from
    the mean becomes one whose length is 1 at the farthest training frame; None where a file has no covariance."""

    range: np.ndarray
    mean: np.ndarray
    whitening: np.ndarray | None = None

    @classmethod
    def of_file(cls, avatar: AvatarFile) -> SeenWeights | None:
        """None where the file does not say."""
        a = avatar.arrays
        if "weight_range" not in a or not avatar.blendshapes:
            return None
        if not {"weight_mean", "weight_covariance", "weight_reach"} <= a.keys():
            return cls(a["weight_range"], a["weight_range"].mean(0))
        reach = float(a["weight_reach"][0])
        return cls(
            a["weight_range"], a["weight_mean"], whitening(a["weight_covariance"]) / reach if reach > 0 else None
        )

    def held(self, weights: np.ndarray, strength: Strength) -> np.ndarray:
        """Weights [B,K] held near those that were seen, along the ray from their mean; where the strength is 0, as they
        are."""
        strengths = _column(strength, len(weights))
        if not (strengths > 0).any():
            return weights
        away = weights.astype(float) - self.mean.astype(float)
        gauge = self.gauge(away)[:, None]
        part = (1 + left_of(np.maximum(gauge - 1, 0), _headroom(strengths))) / np.maximum(gauge, 1)
        # near the border as a small step, so that what lies on it stays as it is to the bit
        held = np.where(gauge < 2, weights.astype(float) - (1 - part) * away, self.mean.astype(float) + part * away)
        return np.where(strengths > 0, held, weights).astype(weights.dtype)

    def gauge(self, away: np.ndarray) -> np.ndarray:
        """[B]: how far differences from the mean [B,K] reach, 1 at the border of what was seen."""
        mean, (low, high) = self.mean.astype(float), self.range.astype(float)
        sides = _floored(np.maximum(np.stack([mean - low, high - mean]), 0))
        gauge = np.maximum(away / sides[1], -away / sides[0]).max(1)
        if self.whitening is None:
            return gauge
        return np.maximum(gauge, np.linalg.norm(away @ self.whitening.astype(float).T, axis=1))

    def pack(self) -> dict[str, Any]:
        """As custom properties."""
        packed = {
            "weight_range": self.range.astype("<f4").tobytes(),
            "weight_mean": self.mean.astype("<f4").tobytes(),
        }
        if self.whitening is not None:
            packed["weight_whitening"] = self.whitening.astype("<f8").tobytes()
        return packed

    @classmethod
    def unpack(cls, packed: Any) -> SeenWeights | None:
        """From what ``pack`` made; None of an older scene. Raises ValueError when it is damaged."""
        if "weight_mean" not in packed:
            return None
        seen, mean = (np.frombuffer(packed[f"weight_{name}"], "<f4") for name in ("range", "mean"))
        white = packed.get("weight_whitening")
        size = len(mean)
        return cls(seen.reshape(2, size), mean, np.frombuffer(white, "<f8").reshape(size, size) if white else None)


def whitening(covariance: np.ndarray) -> np.ndarray:
    """[K,K] float64: what turns a difference from the mean into one whose length is its Mahalanobis distance."""
    exact = covariance.astype(float)
    scale = _floored(np.sqrt(np.maximum(np.diagonal(exact), 0)))
    correlation = exact / (scale[:, None] * scale) + RIDGE * np.eye(len(scale))
    return np.linalg.solve(np.linalg.cholesky(correlation), np.diag(1 / scale))


def _floored(sizes: np.ndarray) -> np.ndarray:
    return np.maximum(sizes, max(FLOOR * float(sizes.max(initial=0)), 1e-9))


def _column(strength: Strength, count: int) -> np.ndarray:
    return np.clip(np.broadcast_to(np.asarray(strength, float), (count,)), 0, 1)[:, None]


def _headroom(strengths: np.ndarray) -> np.ndarray:
    return HEADROOM / np.maximum(strengths, 1e-9)
