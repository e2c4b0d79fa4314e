# SPDX-License-Identifier: Apache-2.0
"""The few curves everything on this head is drawn with: fades, bumps, spots, soft maxima and tables through points.

All of them are smooth, take arrays and return arrays; lengths are millimetres wherever the head is built.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

Array = NDArray[Any]


def fade(start: float, end: float, x: ArrayLike) -> Array:
    """Smoothstep from 0 at ``start`` to 1 at ``end`` (start > end falls instead)."""
    t = np.clip((np.asarray(x, float) - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def band(low: float, high: float, soft: float, x: ArrayLike) -> Array:
    """1 between ``low`` and ``high``, fading to 0 over ``soft`` outside of them."""
    return fade(low - soft, low, x) * fade(high + soft, high, x)


def bump(x: ArrayLike, width: ArrayLike, power: float = 2.0) -> Array:
    """exp(-(|x| / width)^power): 1 at zero."""
    return np.exp(-((np.abs(x) / width) ** power))


def spot(
    x: Array, y: Array, centre: tuple[float, float], radii: tuple[ArrayLike, ArrayLike], power: float = 2.0
) -> Array:
    """A two-dimensional bump around ``centre``."""
    return bump(x - centre[0], radii[0], power) * bump(y - centre[1], radii[1], power)


def uneven(y: Array, centre: float, above: float, below: float) -> Array:
    """A bump along y whose flanks have different widths."""
    return bump(y - centre, np.where(y > centre, above, below))


def soft_maximum(*values: Array, sharpness: float) -> Array:
    """Smooth upper envelope of surfaces; unlike their sum it does not pinch where they meet."""
    scaled = np.stack(np.broadcast_arrays(*values)) * sharpness
    top = scaled.max(0)
    return (top + np.log(np.exp(scaled - top).sum(0))) / sharpness


def table(*points: tuple[float, float]) -> PchipInterpolator:
    """Shape-preserving cubic through (position, value) points, in any order."""
    ordered = np.array(sorted(points))
    return PchipInterpolator(ordered[:, 0], ordered[:, 1], extrapolate=True)
