# SPDX-License-Identifier: Apache-2.0
"""Filling what is not known of a picture from what is known around it, smoothly and over any distance.

A pyramid of weighted means is built down to a few pixels and read back up (pull-push, Gortler et al. 1996).
"""

from __future__ import annotations

import cv2
import numpy as np

_COARSEST = 2  # pixels
_GROWTH = 4.0  # by which a known pixel counts more a level up: the nearest one decides, not the share of known area


def spread(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """values [H,W,C] float32, weights [H,W] float32 from 0 (unknown) to 1 (kept as it is) -> [H,W,C] float32.

    Zeros where nothing at all is known. Nothing that has no weight has any influence.
    """
    levels = []
    value, weight = values * weights[..., None], weights
    while min(weight.shape) > _COARSEST:
        levels.append((value, weight))
        value, weight = _half(value), _half(weight)
        gain = np.minimum(_GROWTH, 1 / np.maximum(weight, 1e-6))
        value, weight = value * gain[..., None], weight * gain
    total = max(float(weight.sum()), 1e-6)
    mean = (value.sum((0, 1)) / total).astype(np.float32)
    filled = value + (1 - weight[..., None]) * mean
    for value, weight in reversed(levels):
        filled = value + (1 - weight[..., None]) * _enlarged(filled, weight.shape)
    return np.asarray(filled, np.float32)


def weighted_means(values: np.ndarray, weights: np.ndarray, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """Means [h,w,C] of values [H,W,C] over cells of ``cell`` pixels and their mean weights [h,w]."""
    size = max(1, -(-weights.shape[1] // cell)), max(1, -(-weights.shape[0] // cell))
    known = _shrunk(weights, size)
    sums = _shrunk(values * weights[..., None], size)
    return sums / np.maximum(known, 1e-6)[..., None], np.minimum(known, 1)


def _half(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return _shrunk(picture, ((width + 1) // 2, (height + 1) // 2))


def _shrunk(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Area means [h,w] or [h,w,C]; OpenCV takes four channels at a time."""
    if picture.ndim == 2:
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    parts = [picture[..., first : first + 4] for first in range(0, picture.shape[2], 4)]
    return np.dstack([cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in parts])


def _enlarged(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    large = cv2.resize(picture, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return large.reshape(*shape[:2], -1)
