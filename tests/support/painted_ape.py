# SPDX-License-Identifier: Apache-2.0
"""A painted ape that the face detector takes for a face: ears, fur, a wide muzzle, and little that a person has."""

from __future__ import annotations

import cv2
import numpy as np

FUR, SKIN, WHITE, BROWN, BLACK = (70, 48, 32), (200, 160, 130), (245, 245, 240), (60, 35, 20), (10, 10, 10)
_FINE = 4  # bits of a pixel's fraction


def paint_ape(wide: float = 0.85, muzzle: float = 1.3, eye: float = 0.7, seed: int = 0) -> np.ndarray:
    """[512,512,3] uint8; wide, muzzle, eye: sizes of the head's breadth, the muzzle's height and the eyes."""
    picture = np.full((512, 512, 3), (90, 120, 90), np.uint8)

    def ellipse(x: float, y: float, across: float, down: float, colour: tuple[int, int, int]) -> None:
        centre, axes = ((round(a * 2**_FINE), round(b * 2**_FINE)) for a, b in ((x, y), (across, down)))
        cv2.ellipse(picture, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA, _FINE)

    for side in (-1, 1):
        ellipse(256 + side * 150 * wide, 230, 45, 55, FUR)
        ellipse(256 + side * 150 * wide, 230, 28, 38, SKIN)
    ellipse(256, 250, 150 * wide, 165, FUR)
    for side in (-1, 1):
        ellipse(256 + side * 50 * wide, 215, 62 * wide, 60, SKIN)
    ellipse(256, 300, 95 * wide, 85 * muzzle, SKIN)
    for side in (-1, 1):
        for across, down, y, colour in ((26, 24, 215, WHITE), (14, 14, 217, BROWN), (7, 7, 217, BLACK)):
            ellipse(256 + side * 50 * wide, y, across * eye, down * eye, colour)
        ellipse(256 + side * 14, 275, 7, 5, (60, 30, 25))
    cv2.ellipse(picture, (256, 310), (60, 30), 0, 15, 165, (90, 30, 30), 6, cv2.LINE_AA)
    noise = np.random.default_rng(seed).normal(0, 5, picture.shape)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 1.2) + noise, 0, 255).astype(np.uint8)
