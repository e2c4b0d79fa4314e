# SPDX-License-Identifier: Apache-2.0
"""How a head and its eyes go about: quick smooth moves between places where they rest for a while.

Rests matter as much as moves: on them a tracking that trembles is seen, on the moves one that lags.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rng = np.random.Generator
HEAD_REACH = np.radians([12.0, 25.0, 8.0])  # nod, turn, tilt
SWAY_REACH = np.array([0.020, 0.010, 0.025])  # metres
GAZE_REACH = np.radians([8.0, 18.0])  # up and down, to the sides
_COUNTERED = 0.4  # share of the head's turn that the eyes undo


@dataclass(frozen=True)
class Motion:
    """head [F,3]: rotation vectors at the neck; sway [F,3]: metres; gaze [F,3]: rotation vectors of both eyes."""

    head: np.ndarray
    sway: np.ndarray
    gaze: np.ndarray


def lively_motion(frames: int, fps: float, rng: Rng) -> Motion:
    """Head turns that reach HEAD_REACH, sway and glances, with rests between. The same rng state gives the same."""
    time = np.arange(frames) / fps
    head = HEAD_REACH * _to_the_full(wandering(time, 3, (0.3, 0.9), (0.3, 0.8), rng), rng)
    # Nobody rests like a statue: a slow drift of half a degree.
    phases, rates = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.3, 0.8, 3)
    head = head + np.radians(0.5) * np.sin(2 * np.pi * rates * time[:, None] + phases)
    sway = SWAY_REACH * wandering(time, 3, (0.5, 1.5), (0.6, 1.4), rng)
    glances = GAZE_REACH * wandering(time, 2, (0.4, 1.2), (0.05, 0.09), rng)
    gaze = np.pad(glances - _COUNTERED * head[:, :2], ((0, 0), (0, 1)))
    return Motion(head, sway, gaze)


def wandering(
    time: np.ndarray, axes: int, rests: tuple[float, float], moves: tuple[float, float], rng: Rng
) -> np.ndarray:
    """[F,axes] in [-1,1]: rests and moves between random places, of that many seconds each. Places follow each other
    on either side of the middle; a move has no jerk at its ends (a polynomial of the fifth degree)."""
    values = np.zeros((len(time), axes))
    sides = rng.choice([-1.0, 1.0], axes)
    place = sides * rng.uniform(0.2, 1.0, axes)
    values[:] = place
    moment = time[0] + rng.uniform(0, rests[1])
    while moment < time[-1]:
        sides = -sides
        target, lasts = sides * rng.uniform(0.2, 1.0, axes), rng.uniform(*moves)
        part = np.clip((time - moment) / lasts, 0, 1)[:, None]
        values += (target - place) * part**3 * (10 - 15 * part + 6 * part**2)
        moment, place = moment + lasts + rng.uniform(*rests), target
    return values


def _to_the_full(values: np.ndarray, rng: Rng) -> np.ndarray:
    """Values [F,A] scaled so that every axis reaches about 1 somewhere: short clips turn as far as long ones."""
    return values * rng.uniform(0.85, 1.1, values.shape[1]) / np.abs(values).max(0)
