# SPDX-License-Identifier: Apache-2.0
"""Which part of a face a place on a head is, in an artist's words: by geometry alone, so that it holds for every head.

All is measured in distances between the eyes, from their middle; the mouth is where the lips of an opening jaw meet.
"""

from __future__ import annotations

import numpy as np

from blendsplat.heads.face_motions import lips
from blendsplat.heads.model import JAW_JOINT, LEFT_EYE_JOINT, HeadModel

PLACES = (
    "mouth", "mouth corner", "chin", "jaw", "cheek", "nose", "eye", "brow", "forehead", "side of the head", "hair",
    "neck",
)  # fmt: skip
_USUAL_MOUTH = (-1.1, 0.4)  # height and half the width, where no lips are found
_OPEN_JAW = 0.3  # radians


def face_places(head: HeadModel) -> np.ndarray:
    """The part of each vertex [V], as indices into PLACES."""
    return places_on(head, head.template.detach().cpu().double().numpy())


def places_on(head: HeadModel, points: np.ndarray) -> np.ndarray:
    """The part that points [P,3] of the head at rest, metres, lie in: indices into PLACES [P]."""
    return places_of(points, *_measures(head))


def places_of(points: np.ndarray, middle: np.ndarray, apart: float, mouth: tuple[float, float]) -> np.ndarray:
    """Of points [P,3]: indices into PLACES. middle [3]: between the eyes; apart: metres between them; mouth: its height
    and half its width in these units."""
    x, y, z = ((points - middle) / apart).T
    aside, height, wide = np.abs(x), mouth[0], mouth[1]
    front = z > -0.9
    chin = height - 0.28
    named = [
        (front & (np.abs(y - height) <= 0.28) & (aside <= 0.7 * wide), "mouth"),
        (front & (np.abs(y - height) <= 0.28) & (aside <= 1.4 * wide), "mouth corner"),
        (front & (y < chin) & (y > height - 1.1) & (aside <= 0.45), "chin"),
        (front & (y < chin) & (y > height - 0.9), "jaw"),
        (front & (y > height + 0.28) & (y <= 0.15) & (aside <= 0.27), "nose"),
        (front & (np.hypot(aside - 0.5, y) <= 0.36), "eye"),
        (front & (y > 0.15) & (y <= 0.75) & (aside <= 1.1), "brow"),
        (front & (y > 0.75) & (y <= 1.5) & (aside <= 1.1), "forehead"),
        (front & (y > chin) & (y <= 0.15) & (aside <= 1.15), "cheek"),
        (y > 1.5, "hair"),
        (y < height - 0.9, "neck"),
        (z < -1.6, "hair"),
    ]
    return np.select([where for where, _ in named], [PLACES.index(name) for _, name in named], PLACES.index(_SIDE))


_SIDE = "side of the head"


def _measures(head: HeadModel) -> tuple[np.ndarray, float, tuple[float, float]]:
    template = head.template.detach().cpu().double().numpy()
    joints = head.joints.detach().cpu().double().numpy()
    eyes = joints[LEFT_EYE_JOINT:]
    middle, apart = eyes.mean(0), max(float(np.linalg.norm(eyes[0] - eyes[1])), 1e-6)
    follows = head.skin_weights.detach().cpu().double().numpy()[:, JAW_JOINT]
    opened = np.cross([_OPEN_JAW, 0, 0], template - joints[JAW_JOINT]) * follows[:, None]
    if not opened.any() and "jawOpen" in head.expression_names:
        opened = head.expression_directions[head.expression_names.index("jawOpen")].detach().cpu().double().numpy()
    lower, upper = lips(template, opened)
    if not len(lower):
        return middle, apart, _USUAL_MOUTH
    meeting = (np.concatenate([template[lower], template[upper]]) - middle) / apart
    return middle, apart, (float(meeting[:, 1].mean()), float(max(np.abs(meeting[:, 0]).max(), 0.2)))
