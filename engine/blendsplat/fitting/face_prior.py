# SPDX-License-Identifier: Apache-2.0
"""What is expected of a face before its landmarks are looked at, and who reads it from pixels: a small Protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class FacePrior:
    """What a regressor read from the pictures: shape [S'] of the person; expression [F,E'] and jaw_pose [F,3] of every
    frame. Coefficients that it does not have are expected to be zero."""

    shape: np.ndarray
    expression: np.ndarray
    jaw_pose: np.ndarray


class Regressor(Protocol):
    """Reads one face."""

    name: str
    face_share: float  # height of the 68 landmarks over the height of the pictures it wants
    step: float  # seconds between the frames of a video that it should read; 0: it is quick enough for every one

    def many(self, pictures: list[np.ndarray], points: list[np.ndarray] | None = None) -> list[FacePrior]:
        """Square RGB pictures [S,S,3] float32 in [0,1] on white -> what it saw in each, with one frame.

        points: what the landmark detector found in each, [478,3] in pixels of any picture of the same face (z as
        large as x, smaller is nearer); who reads shape from them too is then surer of it.
        """
        ...
