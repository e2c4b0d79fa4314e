# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a clip are scored, told by its matte and landmarks alone: the same for every head and every avatar.

Tracking marks what an avatar need not learn by the tracked head's own neck (``valid/``), and heads end at different
places, so figures over those pixels do not compare. Here a level line a little below the chin ends the picture, well
above any head's collar, and beside the face the person does not count from the mouth downwards: collars and shoulders,
and long hair with them. Background counts wherever it lies above the line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from blendsplat.errors import InputError
from blendsplat.landmarks import points as pts
from blendsplat.landmarks.detector import load_landmarks
from blendsplat.video import Clip

BELOW_CHIN = 0.1  # of the distance between the irises
BESIDE = 0.1  # of the same, around the detected outline: what is face and neck
ABOVE_CHIN = 0.55  # of the same: how far up a collar may reach when the mouth is open
EDGE = 0.03  # of the same, over which the border fades
CORNERS = (61, 291)  # of the mouth
PERSON = 24  # a matte above this is no background


def scored_map(matte: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Weights uint8 [H,W] of a picture with the person's matte [H,W] uint8 and landmarks [478,2] in pixels."""
    height, width = matte.shape
    eyes = float(np.linalg.norm(landmarks[list(pts.LEFT_IRIS)].mean(0) - landmarks[list(pts.RIGHT_IRIS)].mean(0)))
    outline = landmarks[list(pts.OVAL)]
    rows = np.arange(height)[:, None] + 0.5
    face = np.full((height, width), 255, np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(np.round(outline).astype(np.int32)), (0,))
    beside = cv2.distanceTransform(face, cv2.DIST_L2, 5) > BESIDE * eyes if (face == 0).any() else face > 0
    size = 2 * max(round(EDGE * eyes / 2), 1) + 1
    person = cv2.dilate(matte, np.ones((size, size), np.uint8)) >= PERSON
    chin = outline[:, 1].max()
    ignored = beside & person & (rows > min(landmarks[list(CORNERS), 1].mean(), chin - ABOVE_CHIN * eyes))
    ignored |= rows > chin + BELOW_CHIN * eyes
    weights: np.ndarray = cv2.blur(
        np.where(ignored, 0, 255).astype(np.uint8), (size, size), borderType=cv2.BORDER_REPLICATE
    )
    return weights


def clip_weights(clip: Clip) -> Callable[[int], np.ndarray] | None:
    """Frame number -> scored_map, or what valid/ says of a frame without landmarks; None for a clip without mattes or
    landmarks at all (another tracker's recording)."""
    path = clip.directory / "landmarks.npz"
    if not clip.has_mattes or not path.is_file():
        return None
    points, found = load_landmarks(path)
    if len(points) != clip.frame_count:
        return None

    def weights(number: int) -> np.ndarray:
        if not found[number]:
            return clip.valid(number)
        return scored_map(clip.matte(number), points[number, :, :2])

    return weights


def common_weights(clip: Clip, others: Sequence[Clip]) -> Callable[[int], np.ndarray]:
    """Frame number -> the least of the weights [H,W] uint8 that tracking the same video with other heads left.

    Raises InputError, naming the folder, for one that is of another video or import.
    """
    for other in others:
        if not _same_pictures(clip, other):
            raise InputError(
                f"{other.directory} is not of the same video as {clip.directory}: its pictures, size or trim differ. "
                "Copy the imported clip's folder and track the copy with the other head."
            )

    def weights(number: int) -> np.ndarray:
        least: np.ndarray = np.minimum.reduce([one.valid(number) for one in (clip, *others)])
        return least

    return weights


def _same_pictures(one: Clip, other: Clip) -> bool:
    if (one.frame_count, one.width, one.height) != (other.frame_count, other.width, other.height):
        return False
    ends = {0, one.frame_count // 2, one.frame_count - 1}
    return all(np.array_equal(one.image(number), other.image(number)) for number in ends)
