# SPDX-License-Identifier: Apache-2.0
"""The square around a face that a network reads: upright, the 68 landmarks in the middle, and the way back."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from blendsplat.fitting.initial_poses import weak_perspective_poses
from blendsplat.heads.landmarks68 import OF_478
from blendsplat.heads.load import load_head

SIZE = 512  # pixels of the crop that is kept


def framing(points: np.ndarray, share: float) -> tuple[float, float, float]:
    """Landmarks [478,2] -> (left, top, side) of the square in which the 68 take ``share`` of the height, centred; of a
    tilted head, once it is upright."""
    face = points[OF_478]
    side = float(np.ptp(turned(face, -tilt_of(points))[:, 1])) / share
    middle = face.mean(0)
    return float(middle[0] - side / 2), float(middle[1] - side / 2), side


def tilt_of(points: np.ndarray) -> float:
    """How far a head is rolled in the picture, radians, clockwise: where the landmarks [478,2] say that its up axis
    points. A turned and nodding head that stands upright has none."""
    rotation = weak_perspective_poses(_rest_points(), points[None].astype(np.float64))[0][0]
    return float(np.arctan2(rotation[0, 1], rotation[1, 1]))


@cache
def _rest_points() -> np.ndarray:
    """The 478 on the neutral head that ships [478,3]."""
    head = load_head("human")
    return np.asarray(head.landmarks_of(head.template[None])[0].numpy(), np.float64)


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    """Picture points [P,2] turned clockwise by ``angle`` (radians) about their mean."""
    c, s = np.cos(angle), np.sin(angle)
    middle = points.mean(0)
    return (points - middle) @ np.array([[c, s], [-s, c]]) + middle


def uprighted(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A picture on white [S,S,3] of the ``framing`` square, turned about its middle so that the head stands upright."""
    size = picture.shape[0]
    middle = (size - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), float(np.degrees(tilt_of(points))), 1.0)
    return cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(1.0, 1.0, 1.0))


def cut_square(image: np.ndarray, square: tuple[float, float, float], size: int = SIZE, fill: int = 0) -> np.ndarray:
    """The square (left, top, side; pixel corners) of ``image`` [H,W] or [H,W,C] at size x size; outside: ``fill``."""
    left, top, side = square
    scale = size / side
    matrix = np.array([[scale, 0, -left * scale + scale / 2 - 0.5], [0, scale, -top * scale + scale / 2 - 0.5]])
    if scale < 0.5:  # warping takes no averages: shrink first
        first = 2 * scale
        image = cv2.resize(image, None, fx=first, fy=first, interpolation=cv2.INTER_AREA)
        return cut_square(image, (left * first, top * first, side * first), size, fill)
    value = (fill,) * 4
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=value)


def paste_square(square_image: np.ndarray, square: tuple[float, float, float], shape: tuple[int, int]) -> np.ndarray:
    """The way back: ``square_image`` [S,S] at its place in a picture [H,W] of ``shape`` that is 0 elsewhere."""
    left, top, side = square
    step = side / square_image.shape[0]
    matrix = np.array([[step, 0, left + step / 2 - 0.5], [0, step, top + step / 2 - 0.5]])
    return cv2.warpAffine(np.ascontiguousarray(square_image), matrix, shape[::-1], flags=cv2.INTER_LINEAR)
