# SPDX-License-Identifier: Apache-2.0
"""The one-euro filter (Casiez, Roussel and Vogel 2012): a face that rests is steadied, one that moves is left alone.

A low pass whose cut-off rises with the speed of what it filters. Numbers are filtered one by one; rotations on SO(3),
by their angular speed. A recording lies before us as a whole, so it is filtered forwards and backwards and the two are
averaged: lips do not lag behind the sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

# hertz: of the low pass over the speed. The published 1 averages a syllable's opening with its closing, and then words
# look slow
SPEED_CUTOFF = 2.0
LIVELY = 10.0  # hertz by which the cut-off rises at a speed of 1, for beta = 1
SHORTEST = 1e-3  # seconds between two frames


@dataclass(frozen=True)
class OneEuro:
    """seconds: about how long a face at rest is averaged over (1 / (2 pi min_cutoff)); 0: nothing is filtered. beta:
    how readily fast movement escapes: times LIVELY the hertz per unit of movement and second. unit: what counts as one
    movement (1 for a blendshape, radians for a rotation, metres for a place)."""

    seconds: float
    beta: float = 1.0
    unit: float = 1.0

    def share(self, step: float, speed: np.ndarray) -> np.ndarray:
        """How much of the newest value is taken [...], ``step`` seconds after the last one, at ``speed`` [...] in the
        value's own units a second."""
        cutoff = 1 / (2 * np.pi * self.seconds) + LIVELY * self.beta * speed / self.unit
        return _share(step, cutoff)


def smoothed(values: np.ndarray, times: np.ndarray, filtered: OneEuro) -> np.ndarray:
    """values [F,...] at times [F] in seconds, each number filtered by itself, without delay."""
    if filtered.seconds <= 0 or len(values) < 2:
        return values
    there = one_euro(values, times, filtered)
    back = one_euro(values[::-1], -times[::-1], filtered)[::-1]
    return ((there + back) / 2).astype(values.dtype)


def smoothed_rotations(rotvecs: np.ndarray, times: np.ndarray, filtered: OneEuro) -> np.ndarray:
    """Rotation vectors [F,R,3] at times [F], each of the R rotations filtered by itself, without delay."""
    if filtered.seconds <= 0 or len(rotvecs) < 2:
        return rotvecs
    there = one_euro_rotations(rotvecs, times, filtered)
    back = one_euro_rotations(rotvecs[::-1], -times[::-1], filtered)[::-1]
    first = Rotation.from_rotvec(there.reshape(-1, 3))
    apart = (first.inv() * Rotation.from_rotvec(back.reshape(-1, 3))).as_rotvec()
    middle = (first * Rotation.from_rotvec(apart / 2)).as_rotvec()
    return middle.reshape(rotvecs.shape).astype(rotvecs.dtype)


def one_euro(values: np.ndarray, times: np.ndarray, filtered: OneEuro) -> np.ndarray:
    """The filter as published: values [F,...] at times [F], each result from what came until then."""
    given = values.astype(np.float64)
    result, speed = given.copy(), np.zeros_like(given[0])
    for row in range(1, len(given)):
        step = max(float(times[row] - times[row - 1]), SHORTEST)
        speed = speed + _share(step, SPEED_CUTOFF) * ((given[row] - given[row - 1]) / step - speed)
        result[row] = result[row - 1] + filtered.share(step, np.abs(speed)) * (given[row] - result[row - 1])
    return result


def one_euro_rotations(rotvecs: np.ndarray, times: np.ndarray, filtered: OneEuro) -> np.ndarray:
    """The same of rotation vectors [F,R,3]: the speed is angular, steps are taken along the shortest way."""
    result, speed = rotvecs.astype(np.float64), np.zeros(rotvecs.shape[1:])
    before = smooth = Rotation.from_rotvec(result[0])
    for row in range(1, len(result)):
        step = max(float(times[row] - times[row - 1]), SHORTEST)
        now = Rotation.from_rotvec(result[row])
        speed = speed + _share(step, SPEED_CUTOFF) * ((now * before.inv()).as_rotvec() / step - speed)
        share = filtered.share(step, np.linalg.norm(speed, axis=-1, keepdims=True))
        smooth = Rotation.from_rotvec(share * (now * smooth.inv()).as_rotvec()) * smooth
        result[row], before = smooth.as_rotvec(), now
    return result


def _share(step: float, cutoff: np.ndarray | float) -> np.ndarray:
    """Of a first-order low pass with this cut-off in hertz."""
    share: np.ndarray = np.asarray(1 / (1 + 1 / (2 * np.pi * cutoff * step)))
    return share
