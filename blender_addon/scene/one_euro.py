# SPDX-License-Identifier: GPL-3.0-or-later
"""The one-euro filter (Casiez, Roussel and Vogel 2012) forwards and backwards, as the engine's heads/one_euro.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..space import matrix_to_rotvec, rotvec_to_matrix

SPEED_CUTOFF, LIVELY = 2.0, 10.0  # hertz
SHORTEST = 1e-3  # seconds between two frames


@dataclass(frozen=True)
class OneEuro:
    """seconds: about how long a face at rest is averaged over, one number or one for each value. beta: how readily fast
    movement escapes. unit: what counts as one movement, in the value's own units."""

    seconds: float | np.ndarray
    beta: float
    unit: float = 1.0

    def share(self, step: float, speed: np.ndarray) -> np.ndarray:
        """How much of the newest value is taken, ``step`` seconds after the last one."""
        return _share(step, 1 / (2 * np.pi * self.seconds) + LIVELY * self.beta * speed / self.unit)


def smoothed(values: np.ndarray, times: np.ndarray, by: OneEuro) -> np.ndarray:
    """values [F,C] at times [F] in seconds, each number by itself, without delay."""
    return (_numbers(values, times, by) + _numbers(values[::-1], -times[::-1], by)[::-1]) / 2


def smoothed_rotations(rotvecs: np.ndarray, times: np.ndarray, by: OneEuro) -> np.ndarray:
    """Rotation vectors [F,R,3] at times [F], each rotation by itself on SO(3), without delay."""
    there = _rotations(rotvecs, times, by)
    back = _rotations(rotvecs[::-1], -times[::-1], by)[::-1]
    half = matrix_to_rotvec(np.swapaxes(there, -1, -2) @ back) / 2
    return matrix_to_rotvec(there @ rotvec_to_matrix(half))


def _numbers(values: np.ndarray, times: np.ndarray, by: OneEuro) -> np.ndarray:
    given = np.asarray(values, float)
    result, speed = given.copy(), np.zeros_like(given[0])
    for row in range(1, len(given)):
        step = max(float(times[row] - times[row - 1]), SHORTEST)
        speed = speed + _share(step, SPEED_CUTOFF) * ((given[row] - given[row - 1]) / step - speed)
        result[row] = result[row - 1] + by.share(step, np.abs(speed)) * (given[row] - result[row - 1])
    return result


def _rotations(rotvecs: np.ndarray, times: np.ndarray, by: OneEuro) -> np.ndarray:
    """-> matrices [F,R,3,3]."""
    given = rotvec_to_matrix(rotvecs)
    result, speed = given.copy(), np.zeros(rotvecs.shape[1:])
    for row in range(1, len(given)):
        step = max(float(times[row] - times[row - 1]), SHORTEST)
        moved, left = (matrix_to_rotvec(given[row] @ np.swapaxes(last[row - 1], -1, -2)) for last in (given, result))
        speed = speed + _share(step, SPEED_CUTOFF) * (moved / step - speed)
        share = by.share(step, np.linalg.norm(speed, axis=-1, keepdims=True))
        result[row] = rotvec_to_matrix(share * left) @ result[row - 1]
    return result


def _share(step: float, cutoff: np.ndarray | float) -> np.ndarray:
    return np.asarray(1 / (1 + 1 / (2 * np.pi * cutoff * step)))
