# SPDX-License-Identifier: Apache-2.0
"""Where the irises are in a picture: the disc within the lids that is darkest against the white around it.

A landmark detector draws irises towards the middle of the eye: on generated people its vertical movement is a fifth to
a half of the true one. The picture itself knows better, and all irises are of nearly one size.
"""

from __future__ import annotations

import cv2
import numpy as np

from blendsplat.landmarks import points as pts

RADIUS = 5.9 / 63  # of a human iris, over the distance between the eyes
EYES_APART = 90.0  # pixels between the eyes of the enlarged copy that is searched
ASTRAY = 0.06  # of the distance between the eyes: usual error of the detector
LEAST = 1e-3  # difference of brightness that is none
LEAST_SEEN = 0.3  # of the disc: less says nothing
CLEAR = 0.12  # difference of brightness (of 1) at which an iris is fully believed


def find_irises(image: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """image [H,W,3] uint8, landmarks [478,2] pixels -> centres [2,2] (left, right) in pixels, confidence [2] 0 to 1.

    Where nothing is found the centre is the detector's, and the confidence 0.
    """
    middles = np.array([landmarks[list(iris)].mean(0) for iris in (pts.LEFT_IRIS, pts.RIGHT_IRIS)])
    apart = float(np.linalg.norm(middles[0] - middles[1]))
    centres, confidence = middles.copy(), np.zeros(2)
    if not np.isfinite(landmarks).all() or apart < 8:
        return centres, confidence
    for eye, lids in enumerate((pts.LEFT_LIDS, pts.RIGHT_LIDS)):
        found = _find(image, landmarks[list(lids)], middles[eye], apart)
        if found is not None:
            centres[eye], confidence[eye] = found[0], found[1]
    return centres, confidence


def _find(image: np.ndarray, lids: np.ndarray, expected: np.ndarray, apart: float) -> tuple[np.ndarray, float] | None:
    zoom = EYES_APART / apart
    margin = 0.12 * apart
    low, high = np.floor(lids.min(0) - margin).astype(int), np.ceil(lids.max(0) + margin).astype(int)
    if (low < 0).any() or (high >= np.array(image.shape[1::-1])).any() or (high - low < 4).any():
        return None
    crop = cv2.resize(image[low[1] : high[1], low[0] : high[0]], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    light = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    outline = ((lids - low) * zoom).astype(np.float32)
    open_ = np.zeros(light.shape, np.uint8)
    cv2.fillPoly(open_, [np.round(outline * 16).astype(np.int32)], (1,), shift=4)
    inside = open_.astype(bool)
    if inside.sum() < 30:
        return None
    light = np.minimum(light, np.quantile(light[inside], 0.8))  # reflections in the eye are no holes in the iris
    radius = RADIUS * EYES_APART
    disc, ring = _kernels(radius)
    share = open_.astype(np.float32)
    seen, around = (cv2.filter2D(share, -1, k, borderType=cv2.BORDER_CONSTANT) for k in (disc, ring))
    dark = cv2.filter2D(light * share, -1, disc, borderType=cv2.BORDER_CONSTANT) / np.maximum(seen, 1e-3)
    bright = cv2.filter2D(light * share, -1, ring, borderType=cv2.BORDER_CONSTANT) / np.maximum(around, 1e-3)
    good = (seen > LEAST_SEEN) & (around > 0.1)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    wanted = (expected - low) * zoom
    away = np.hypot(x + 0.5 - wanted[0], y + 0.5 - wanted[1]) / (ASTRAY * EYES_APART)
    score = np.where(good, (bright - dark) * np.sqrt(np.clip(seen, 0, 0.8)), -1.0)
    row, column = _climb(score, *divmod(int((score * np.exp(-0.5 * away**2)).argmax()), score.shape[1]))
    if score[row, column] <= LEAST:
        return None
    place = np.array([column + _peak(score[row], column), row + _peak(score[:, column], row)])
    return (place + 0.5) / zoom + low, float(min((bright - dark)[row, column] / CLEAR, 1.0))


def _climb(score: np.ndarray, row: int, column: int) -> tuple[int, int]:
    """The peak uphill of a place: how near to the detector's it is chooses a peak, and must not move it."""
    while True:
        top, left = max(row - 1, 0), max(column - 1, 0)
        around = score[top : row + 2, left : column + 2]
        down, right = divmod(int(around.argmax()), around.shape[1])
        if around[down, right] <= score[row, column]:
            return row, column
        row, column = top + down, left + right


def _kernels(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A disc, and the ring about it, of sum 1."""
    reach = int(np.ceil(1.6 * radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.hypot(x, y)
    disc = np.clip(radius + 0.5 - distance, 0, 1)
    ring = np.clip(1.5 * radius + 0.5 - distance, 0, 1) * (distance > 1.1 * radius)
    return (disc / disc.sum()).astype(np.float32), (ring / ring.sum()).astype(np.float32)


def _peak(values: np.ndarray, at: int) -> float:
    """Where between its neighbours the maximum of a parabola lies, in -0.5 to 0.5."""
    if not 0 < at < len(values) - 1 or min(values[at - 1], values[at + 1]) < 0:
        return 0.0
    bend = values[at - 1] - 2 * values[at] + values[at + 1]
    return float(np.clip(0.5 * (values[at - 1] - values[at + 1]) / bend, -0.5, 0.5)) if bend < 0 else 0.0
