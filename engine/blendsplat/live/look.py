# SPDX-License-Identifier: Apache-2.0
"""What is seen in one picture of the fixed square before any fit: the person's matte and the face's landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from blendsplat.landmarks.detector import make_detector
from blendsplat.live.follow import Follower
from blendsplat.video.matte import Segmenter, refine_matte

FACES = 2  # looked for, so that whoever comes into the picture is not taken for the one who is followed


@dataclass(frozen=True)
class Looked:
    """A picture of the square: its number among all pictures of the source, seconds, image [S,S,3] uint8, matte [S,S]
    uint8, points [478,3] float32 in pixels (None: no face), again: of another round of a looped file."""

    number: int
    seconds: float
    image: np.ndarray
    matte: np.ndarray
    points: np.ndarray | None
    again: bool = False


class Look(Protocol):
    """Finds matte and landmarks in consecutive pictures."""

    detector: str  # what clip.json says of it
    matte: str

    def __call__(self, number: int, image: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Image [S,S,3] uint8 -> matte [S,S] uint8, points [478,3] or None."""

    def close(self) -> None:
        """Free the models."""


class FaceLook:
    """mediapipe's segmentation and face mesh (or the user's bundle)."""

    matte = Segmenter.name

    def __init__(self, bundle: Path | None = None) -> None:
        """Raises InputError where a model is missing."""
        self._detector = make_detector(bundle, max_faces=FACES)
        self.detector = self._detector.name
        self._segmenter = Segmenter()
        self._follower = Follower()

    def __call__(self, number: int, image: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray | None]:
        matte = refine_matte(image, self._segmenter(image))
        faces = self._detector.detect_all(image, seconds)
        followed = self._follower([face.box for face in faces], seconds)
        return matte, None if followed is None else faces[followed].points

    def close(self) -> None:
        self._detector.close()
        self._segmenter.close()
