# SPDX-License-Identifier: GPL-3.0-or-later
"""What is added to a whole performance: brows a little higher, the mouth friendlier, the head lower.

Groups of ARKit's expressions have two ends (a smile and a frown), so one number says how far to which. On heads whose
expressions have no names only jaw and head can be moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..space import matrix_to_rotvec, rotvec_to_matrix
from . import arkit

if TYPE_CHECKING:
    from .neutral_face import Face

# offset -> the expressions of +1, those of -1, both with two sides
ENDS = {
    "brows": (("browInnerUp", "browOuterUp"), ("browDown",)),
    "lids": (("eyeBlink",), ("eyeWide",)),
    "mouth": (("mouthSmile",), ("mouthFrown",)),
}


@dataclass(frozen=True)
class Offsets:
    """brows: up; lids: shut; mouth: smile; jaw: open (1: as wide as jawOpen); of -1 to 1. head: radians that it is
    turned by, up and down, to its left, to its left shoulder."""

    brows: float = 0.0
    lids: float = 0.0
    mouth: float = 0.0
    jaw: float = 0.0
    head: tuple[float, float, float] = (0.0, 0.0, 0.0)


NOTHING_ADDED = Offsets()


def added(arrays: dict[str, np.ndarray], face: Face, offsets: Offsets) -> dict[str, np.ndarray]:
    """The moving arrays of a performance (expression [F,E], jaw_pose, neck_pose [F,3], ...) with the offsets, those of
    expressions within the head's range or where they were."""
    if offsets == NOTHING_ADDED:
        return arrays
    expression, jaw = np.array(arrays["expression"], float), np.array(arrays["jaw_pose"], float)
    before = expression.copy()
    for name, ends in ENDS.items():
        amount = float(getattr(offsets, name))
        for end, sign in zip(ends, (1, -1), strict=True):
            columns = [index for index, one in enumerate(face.names) if _is_of(one, end)]
            expression[:, columns] += max(0.0, sign * amount)
    if "jawOpen" in face.names:
        expression[:, face.names.index("jawOpen")] += offsets.jaw
    else:
        jaw[:, 0] += offsets.jaw * arkit.TURNS["jawOpen"][1][0]
    low, high = face.bounds
    expression = np.clip(expression, np.minimum(low, before), np.maximum(high, before))
    turn = rotvec_to_matrix(np.array(offsets.head))
    neck = matrix_to_rotvec(rotvec_to_matrix(arrays["neck_pose"]) @ turn) if any(offsets.head) else arrays["neck_pose"]
    return arrays | {"expression": expression, "jaw_pose": jaw, "neck_pose": neck}


def _is_of(name: str, wholes: tuple[str, ...]) -> bool:
    return name in wholes or any(name == whole + side for whole in wholes for side in arkit.SIDES)
