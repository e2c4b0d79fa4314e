# SPDX-License-Identifier: GPL-3.0-or-later
"""Where on the face a slider without a telling name moves it: measured in distances between the eyes, which are on
every head, from the point between them. Grown faces differ little in these numbers.
"""

from __future__ import annotations

import numpy as np

# (group, the place in words, from and to beside the middle, from and to in height)
_PLACES = (
    ("brows", "forehead", 0.0, 1.2, 0.62, 1.4),
    ("brows", "inner brow", 0.0, 0.42, 0.18, 0.62),
    ("brows", "outer brow", 0.42, 1.1, 0.18, 0.62),
    ("eyes", "eye", 0.2, 0.85, -0.18, 0.18),
    ("nose", "nose", 0.0, 0.34, -0.75, 0.1),
    ("cheeks", "cheek", 0.36, 1.15, -0.8, -0.2),
    ("mouth", "upper lip", 0.0, 0.26, -1.07, -0.78),
    ("mouth", "lower lip", 0.0, 0.26, -1.38, -1.07),
    ("mouth", "mouth corner", 0.26, 0.56, -1.35, -0.8),
    ("jaw", "chin", 0.0, 0.5, -2.1, -1.4),
    ("jaw", "jaw", 0.5, 1.3, -1.9, -0.85),
    ("head", "neck", 0.0, 1.5, -6.0, -2.1),
)
_ONE_SIDE = 4.0  # as much more movement on one side than on the other
_STILL = 1e-7  # metres


def masks(points: np.ndarray, eyes: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """(group, place) -> the points [V] there. points [V,3] and eyes [2,3] (left, right): the head at rest, x to the
    person's left, y backwards, z up (Blender's axes); without eyes that are apart there are no places."""
    apart = float(np.linalg.norm(eyes[0] - eyes[1]))
    if apart < 1e-6:
        return {}
    away = (points - eyes.mean(0)) / apart
    beside, height, front = np.abs(away[:, 0]), away[:, 2], away[:, 1] < 0.6
    found = {}
    for group, place, inner, outer, low, high in _PLACES:
        here = (beside >= inner) & (beside < outer) & (height >= low) & (height < high) & front
        if here.any():
            found[group, place] = here
    return found


def place_of(moves: np.ndarray, points: np.ndarray, places: dict[tuple[str, str], np.ndarray]) -> tuple[str, str]:
    """(group, words) of the place that the displacements [V,3] move most, a side where they move but one; ("", "")
    where they move nothing."""
    squared = (moves.astype(float) ** 2).sum(1)
    if not places or squared.max(initial=0.0) < _STILL**2:
        return "", ""
    group, place = max(places, key=lambda key: float(squared[places[key]].mean()))
    here = places[group, place]
    left, right = squared[here & (points[:, 0] > 0)].sum(), squared[here & (points[:, 0] < 0)].sum()
    if max(left, right) > _ONE_SIDE * min(left, right):
        place += " L" if left > right else " R"
    return group, place
