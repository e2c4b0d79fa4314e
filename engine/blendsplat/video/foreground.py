# SPDX-License-Identifier: Apache-2.0
"""The person's own colour where a pixel holds person and background: what a matte alone leaves mixed.

A hair over a white wall is grey in the picture. Trained on like that, it is a grey fringe before any other background.
"""

from __future__ import annotations

import cv2
import numpy as np

from blendsplat.video.spread import spread, weighted_means

_CELL = 2  # pixels: the background is smooth enough for half the resolution


def foreground(image: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """image [H,W,3] and straight alpha [H,W] uint8 -> the person's colour times alpha, uint8 [H,W,3].

    Of a mixed pixel the background's share is taken away; the background is the one beside it (alpha 0). Where all is
    person or no background is seen, this is image times alpha. The same input always gives the same colours.
    """
    alpha = matte.astype(np.float32)[..., None] / 255
    picture = image.astype(np.float32)
    behind = (matte == 0).astype(np.float32)
    mixed = (matte > 0) & (matte < 255)
    if not (mixed.any() and behind.any()):
        return (picture * alpha + 0.5).astype(np.uint8)
    background = spread(*weighted_means(picture, behind, _CELL))
    background = cv2.resize(background, matte.shape[::-1], interpolation=cv2.INTER_LINEAR)
    own = np.clip(picture - (1 - alpha) * background, 0, 255 * alpha)
    return np.asarray(np.where(mixed[..., None], own, picture * alpha) + 0.5, np.uint8)
