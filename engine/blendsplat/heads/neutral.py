# SPDX-License-Identifier: Apache-2.0
"""A person's neutral face, as a performance shows it: what the face is when it does nothing.

The mean of a clip is not it: somebody who talks all the time has a half-open mouth on average. So frames are looked for
that are quiet (the face is near the head model's rest) and often come again (many frames lie near them); the median of
those is the neutral. A tracker's habits, a mouth's corner that it always sees raised, are in it as well, and so they
stay with the person they belong to.

A closed mouth is closed on everybody, and somebody who never stops talking does not show it at rest: where the lips of
the neutral are apart, its jaw is closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from blendsplat.heads.face_motions import FaceMotions

QUIET = 0.3  # the part of the frames among which the neutral is looked for: the nearest to the head's rest
RESTS = 0.5  # how much nearness to the rest counts among those, where company counts 1
ALIKE = 0.05  # the part of the frames whose median it is
FEWEST_ALIKE = 3  # frames
FEWEST_FRAMES = 10  # that tell a neutral from an expression: a photograph or a moment does not
LOOKED_AT = 1500  # frames at most, evenly spread


@dataclass(frozen=True)
class Neutral:
    """expression [E], jaw_pose [3], eyelids [2] of the quiet face; eyes_pose [2,3]: where the eyes mostly look.
    float32; rotation vectors in radians."""

    expression: np.ndarray
    jaw_pose: np.ndarray
    eyes_pose: np.ndarray
    eyelids: np.ndarray

    @classmethod
    def of(
        cls, expression: np.ndarray, jaw_pose: np.ndarray, eyes_pose: np.ndarray, eyelids: np.ndarray,
        motions: FaceMotions,
    ) -> Neutral | None:  # fmt: skip
        """Of F frames' [F,E], [F,3], [F,2,3], [F,2] of a head with these motions. None where there are too few."""
        if len(expression) < FEWEST_FRAMES:
            return None
        rows = np.unique(np.linspace(0, len(expression) - 1, min(len(expression), LOOKED_AT)).astype(int))
        faces = np.concatenate([expression, jaw_pose], 1)[rows].astype(np.float64)
        alike = quiet_and_often(faces @ motions.sizes)
        face = np.median(faces[alike], axis=0)
        apart = float(face @ motions.opening)
        if apart > 0 and motions.opener >= 0:
            face[motions.opener] -= apart / motions.opening[motions.opener]
        gaze, lids = np.median(eyes_pose, axis=0), np.median(eyelids[rows[alike]], axis=0)
        return cls(*(part.astype(np.float32) for part in (face[:-3], face[-3:], gaze, lids)))

    def arrays(self) -> dict[str, np.ndarray]:
        """As the avatar file holds it."""
        return {f"neutral_{name}": value for name, value in vars(self).items()}

    @classmethod
    def from_file(cls, arrays: Mapping[str, np.ndarray]) -> Neutral | None:
        """Of an avatar file's checked arrays; None where they do not say."""
        names = {name: f"neutral_{name}" for name in cls.__dataclass_fields__}
        if not set(names.values()) <= arrays.keys():
            return None
        return cls(**{name: arrays[array] for name, array in names.items()})


def quiet_and_often(moved: np.ndarray) -> np.ndarray:
    """Of frames [F,C] that are as far apart as their faces (zero: the head's rest), the rows that show the quiet face
    which is seen most often."""
    activity = np.linalg.norm(moved, axis=1)
    square = activity**2
    apart = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * moved @ moved.T, 0))
    count = min(len(moved), max(FEWEST_ALIKE, round(ALIKE * len(moved))))
    reach = np.sort(apart, axis=1)[:, count - 1]
    quiet = activity <= np.quantile(activity, QUIET)
    middle = int(np.argmin(np.where(quiet, reach + RESTS * activity, np.inf)))
    rows: np.ndarray = np.argsort(apart[middle], kind="stable")[:count]
    return rows
