# SPDX-License-Identifier: Apache-2.0
"""Hair edges by colour: in a band along a matte's border, how much of each pixel is person and how much background.

Person and background have local normal distributions of colour, learned beside the band; a shot's clean plate tells
the background behind the band itself. Alpha is the most probable one (Bayesian matting, Chuang et al. 2001), given the
matte as what was known before: where the colours tell nothing apart it stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from blendsplat.video.clean_plate import CleanPlate
from blendsplat.video.spread import spread, weighted_means

# Lengths, as parts of the picture's side.
_INSIDE, _OUTSIDE = 1 / 100, 1 / 51  # how far the band reaches from the matte's border
_SEEN = 1 / 170  # beyond the border, from where on a picture may tell the plate
_CELL = 1 / 128  # of the grid on which colours are learned
_SMOOTHING = 1 / 170  # radius of the last guided filter

_NEAR, _WIDE = 2.0, 4.0  # cells over which colours, and a busy background's variance, are gathered
_NOISE = 0.04  # a camera's, and what a normal distribution does not tell, of a channel's range
_BUSY = 3.0  # a guessed background is worse than the variance of its surroundings
_PLAIN = 0.08  # deviation of a background that may be guessed from around
# Variances of the matte as a guess of alpha: within, outside of a busy background and of a known one, at the border.
_SURE, _SURE_BUSY, _SURE_KNOWN, _UNSURE = 0.005, 0.001, 0.02, 0.2
_ROUNDS = 2  # alpha enters the variance it is found by
_EPSILON = 1e-4 * 255**2  # of the guided filter
_FAINT = 0.04  # alpha below this is nothing, above its rest all: shadows, noise
_LINKED = 0.08  # alpha by which hair hangs together with the head

_UNIT = np.array([1, 0, 0, 1, 0, 1], np.float32)


@dataclass(frozen=True)
class Band:
    """person, background [H,W] bool: what is sure of a matte; the rest is the band."""

    person: np.ndarray
    background: np.ndarray


def band_of(matte: np.ndarray) -> Band:
    """matte [H,W] uint8 -> what its border leaves open."""
    solid, some = (matte > 242).astype(np.uint8), (matte > 12).astype(np.uint8)
    side = min(matte.shape)
    return Band(cv2.erode(solid, _disk(side * _INSIDE)) > 0, cv2.dilate(some, _disk(side * _OUTSIDE)) == 0)


def surely_behind(matte: np.ndarray) -> np.ndarray:
    """matte [H,W] uint8 -> bool [H,W]: where the picture shows what a clean plate can be learned from."""
    return np.asarray(cv2.dilate((matte > 12).astype(np.uint8), _disk(min(matte.shape) * _SEEN)) == 0)


def matte_by_color(image: np.ndarray, matte: np.ndarray, plate: CleanPlate) -> np.ndarray:
    """image [H,W,3] uint8 and its matte [H,W] uint8 -> matte [H,W] uint8 with hair; exactly 0 and 255 off the band."""
    band = band_of(matte)
    rows, columns = np.nonzero(~(band.person | band.background))
    if not (len(rows) and band.person.any() and band.background.any()):
        return matte
    picture = image.astype(np.float32) / 255
    alpha = band.person.astype(np.float32)
    alpha[rows, columns] = _most_probable(picture, matte.astype(np.float32) / 255, band, plate, rows, columns)
    alpha *= _hangs_together(alpha, band.person)
    smooth = cv2.ximgproc.guidedFilter(image, alpha, _radius(min(matte.shape) * _SMOOTHING), _EPSILON)
    alpha = np.clip((smooth - _FAINT) / (1 - 2 * _FAINT), 0, 1)
    alpha[band.person], alpha[band.background] = 1, 0
    return np.asarray(alpha * 255 + 0.5, np.uint8)


def _most_probable(
    picture: np.ndarray, matte: np.ndarray, band: Band, plate: CleanPlate, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Alpha [N] of the band's pixels."""
    person, behind = band.person.astype(np.float32), band.background.astype(np.float32)
    cell = _radius(min(matte.shape) * _CELL)

    def gather(values: np.ndarray, weights: np.ndarray, reach: float) -> np.ndarray:
        means = spread(*weighted_means(values, weights, cell))
        return cv2.GaussianBlur(means, (0, 0), reach)

    def at_band(values: np.ndarray) -> np.ndarray:
        return cv2.resize(values, matte.shape[::-1], interpolation=cv2.INTER_LINEAR)[rows, columns]

    moments = np.dstack([picture, _products(picture)])
    front = at_band(_mean_and_covariance(gather(moments, person, _NEAR)))
    around = at_band(_mean_and_covariance(gather(moments, behind, _WIDE))[..., 3:])
    # Exposure drifts and shadows fall: the frame's own background corrects the plate.
    background = plate.picture[rows, columns] + at_band(gather(picture - plate.picture, behind, _NEAR))
    trust = plate.trust[rows, columns]
    unknown = around * (_BUSY * (1 - trust))[:, None]
    plain = np.exp(-around[:, [0, 3, 5]].sum(-1) / _PLAIN**2)

    guess = matte[rows, columns]
    sure_outside = _SURE_BUSY + (_SURE_KNOWN - _SURE_BUSY) * np.maximum(trust, plain)
    variance = guess * _SURE + (1 - guess) * sure_outside + 4 * guess * (1 - guess) * _UNSURE
    seen, across = picture[rows, columns] - background, front[:, :3] - background
    alpha = guess
    for _ in range(_ROUNDS):
        spread_of = (alpha**2)[:, None] * front[:, 3:] + ((1 - alpha) ** 2)[:, None] * unknown + _NOISE**2 * _UNIT
        weighed = _solve(spread_of, across)
        told, certainty = (weighed * seen).sum(-1), (weighed * across).sum(-1)
        alpha = np.clip((told + guess / variance) / (certainty + 1 / variance), 0, 1)
    return alpha


def _hangs_together(alpha: np.ndarray, person: np.ndarray) -> np.ndarray:
    """bool [H,W]: what is joined to the person, so that no island floats beside it."""
    count, labels = cv2.connectedComponents((alpha > _LINKED).astype(np.uint8), connectivity=8)
    joined = np.zeros(count, bool)
    joined[np.unique(labels[person])] = True
    return np.asarray(joined[labels])


def _products(colours: np.ndarray) -> np.ndarray:
    """RGB [H,W,3] -> rr, rg, rb, gg, gb, bb [H,W,6]."""
    r, g, b = cv2.split(colours)
    return np.dstack([r * r, r * g, r * b, g * g, g * b, b * b])


def _mean_and_covariance(moments: np.ndarray) -> np.ndarray:
    """First and second moments [H,W,9] -> mean and covariance [H,W,9], in the order of _products."""
    mean = np.ascontiguousarray(moments[..., :3])
    return np.dstack([mean, moments[..., 3:] - _products(mean)])


def _solve(symmetric: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve 3x3 systems: symmetric [N,6] in the order of _products, right [N,3] -> [N,3], by the adjugate."""
    a, b, c, d, e, f = symmetric.T
    A, B, C, D, E, F = d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b
    x, y, z = right.T
    solved = np.stack([A * x + B * y + C * z, B * x + D * y + E * z, C * x + E * y + F * z], -1)
    return np.asarray(solved / (a * A + b * B + c * C)[:, None])


def _radius(pixels: float) -> int:
    return max(1, round(pixels))


def _disk(radius: float) -> np.ndarray:
    side = 2 * _radius(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
