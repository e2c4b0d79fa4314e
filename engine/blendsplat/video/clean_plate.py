# SPDX-License-Identifier: Apache-2.0
"""The clean plate of a shot: what stands behind the person, learned from the moments at which it is seen.

Each pixel is the median of the frames in which it is surely background. It is trusted as far as these frames agree: not
where something moves behind the person, and hardly anywhere when the camera does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blendsplat.video.spread import spread

FRAMES = 32  # of a shot; more make the plate no better
_FEWEST = 4  # frames that have to show a pixel
_AGREE = 0.03  # deviation from the median, of a channel's range, that makes a pixel doubtful
_MEMORY = 1 << 28  # bytes of pictures that are held at once, unless that allows too few
_MEDIAN = 64  # rows at a time
_UNSEEN = 255
_STILL = 0.75  # mean trust below which the camera moves; a plain wall is trusted even then


@dataclass(frozen=True)
class CleanPlate:
    """picture [H,W,3] float32 from 0 to 1, unseen parts filled from around; trust [H,W] float32 from 0 to 1; steady:
    the mean trust of what was seen often enough (1 when nothing was)."""

    picture: np.ndarray
    trust: np.ndarray
    steady: float

    @property
    def camera_stands_still(self) -> bool:
        return self.steady >= _STILL


def plate_frames(first: int, end: int, height: int, width: int) -> list[int]:
    """Which frames of a shot first ... end - 1 to learn its plate from: spread evenly, as many as memory allows."""
    count = int(np.clip(_MEMORY // (3 * height * width), 2 * _FEWEST, FRAMES))
    return np.unique(np.linspace(first, end - 1, min(count, end - first)).round().astype(int)).tolist()


def learn_plate(images: np.ndarray, behind: np.ndarray) -> CleanPlate:
    """images [N,H,W,3] uint8, behind [N,H,W] bool: where each is surely background."""
    height, width = images.shape[1:3]
    picture, trust = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    often = np.zeros((height, width), bool)
    for top in range(0, height, _MEDIAN):
        rows = np.s_[top : top + _MEDIAN]
        shown = behind[:, rows]
        count = shown.sum(0)
        median = _median(images[:, rows], shown[..., None], count[..., None])
        away = np.abs(images[:, rows].astype(np.int16) - median).max(-1).astype(np.uint8)
        deviation = _median(away, shown, count).astype(np.float32) / 255
        often[rows] = count >= _FEWEST
        trust[rows] = np.exp(-((deviation / _AGREE) ** 2)) * often[rows]
        picture[rows] = median.astype(np.float32) / 255
    filled = trust[..., None] * picture + (1 - trust[..., None]) * spread(picture, trust)
    return CleanPlate(filled, trust, float(trust[often].mean()) if often.any() else 1.0)


def _median(values: np.ndarray, known: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Lower median over the first axis of uint8 values [N,...] where known; _UNSEEN where nothing is."""
    ordered = np.sort(np.where(known, values, np.uint8(_UNSEEN)), axis=0)
    middle = np.maximum((count - 1) // 2, 0)[None]
    return np.take_along_axis(ordered, np.broadcast_to(middle, (1, *ordered.shape[1:])), axis=0)[0]
