# SPDX-License-Identifier: Apache-2.0
"""The fixed square around the head, chosen from the first pictures that show a face.

What the head will do later is not known yet, so the square has more room than an imported clip's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from blendsplat.landmarks.detector import make_detector
from blendsplat.live.capture import Picture
from blendsplat.video.crop import Crop, FaceFinder, head_square, without_phantoms
from blendsplat.video.decode import Frame

LOOKS = 4  # pictures with a face that are looked at
ROOM = 0.15  # of the face's height, to every side: how much farther than in these pictures the head may go


class Framing(Protocol):
    """Decides the square, picture by picture."""

    notes: list[str]

    def __call__(self, picture: Picture) -> Crop | None:
        """x, y, size in the picture's pixels; None while more pictures are needed."""

    def close(self) -> None:
        """Free the models."""


class FaceFraming:
    """The square of the largest face in the first pictures."""

    def __init__(self, bundle: Path | None = None) -> None:
        """Raises InputError where the detector's models are missing."""
        self._detector = make_detector(bundle, max_faces=4, moving=False)
        self._find = FaceFinder(self._detector, None)
        self._samples: list[tuple[float, list[np.ndarray]]] = []
        self.notes: list[str] = []

    def __call__(self, picture: Picture) -> Crop | None:
        boxes = self._find(Frame(picture.image, None, picture.seconds))
        if not boxes:
            return None
        self._samples.append((picture.seconds, boxes))
        if len(self._samples) < LOOKS:
            return None
        _, people = without_phantoms(self._samples)
        if len(people) > 1:
            self.notes.append("More than one face is in the picture; the larger one is followed.")
        height, width = picture.image.shape[:2]
        return roomy_square(people[0][1], width, height, self.notes)

    def close(self) -> None:
        self._detector.close()


def roomy_square(boxes: np.ndarray, width: int, height: int, notes: list[str]) -> Crop:
    """The square around face boxes [S,4] and around them moved by ROOM, inside the picture."""
    face = float(np.median(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])))
    moves = ROOM * face * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    moved = (boxes[:, None] + np.tile(moves, 2)[None]).reshape(-1, 4)
    return head_square(moved, width, height, notes)
