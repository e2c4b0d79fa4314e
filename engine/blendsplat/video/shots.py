# SPDX-License-Identifier: Apache-2.0
"""Where a clip is cut: frames that differ from the one before far more than is usual, or faces that jump.

Tracking must not smooth across a cut, nor a matte be steadied across it.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from blendsplat.landmarks.detector import Landmarks, box_distance

_THUMB = 32  # pixels
_LEAST = 14.0  # mean difference of a cut, in 255ths
_EVERYWHERE, _LEAST_EVERYWHERE = 0.5, 7.0  # share of the pixels from which less is a cut; a quick head changes 0.2
_CHANGED = 12.0  # difference of a pixel that has changed
_OUTLIER = 5.0  # times the usual difference
_JUMP = 0.6  # box_distance between consecutive frames


class ShotFinder:
    """Feed frames in order: ``is_cut(image)``, then ``jumped(face)``. starts: frames at which shots begin."""

    def __init__(self) -> None:
        self.starts: list[int] = [0]
        self._thumb: np.ndarray | None = None
        self._usual: deque[float] = deque(maxlen=24)
        self._box: np.ndarray | None = None
        self._was_cut = False

    def is_cut(self, image: np.ndarray) -> bool:
        """Whether image [H,W,3] uint8 begins another shot, by its colours."""
        thumb = cv2.resize(image, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._thumb = self._thumb, thumb
        self._was_cut = False
        if last is None:
            return False
        # the mean is taken out: a flash or the camera's exposure is no cut
        changes = np.abs((thumb - thumb.mean((0, 1))) - (last - last.mean((0, 1))))
        difference = float(changes.mean())
        usual = float(np.median(self._usual)) if self._usual else 1.0
        everywhere = float((changes.max(-1) > _CHANGED).mean()) > _EVERYWHERE
        self._was_cut = difference > max(_LEAST_EVERYWHERE if everywhere else _LEAST, _OUTLIER * usual)
        if not self._was_cut:
            self._usual.append(difference)
        return self._was_cut

    def jumped(self, face: Landmarks | None) -> bool:
        """Whether the face is elsewhere than in the frame before, though the colours had shown no cut."""
        last, self._box = self._box, None if face is None else face.box
        if last is None or self._box is None or self._was_cut:
            return False
        return box_distance(last, self._box) > _JUMP
