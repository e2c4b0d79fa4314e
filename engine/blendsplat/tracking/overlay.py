# SPDX-License-Identifier: Apache-2.0
"""The picture that shows whether a tracking is right: the mesh over the video, landmarks, the matte's border, the cut.

A mirrored head, swapped eyes or a sliding neck give fair numbers; only looking finds them.
"""

from __future__ import annotations

import cv2
import numpy as np

from blendsplat.heads.model import HeadModel
from blendsplat.landmarks import points as pts

SKIN, LIPS, EYES, NECK, SCALP, TEETH = (
    (90, 170, 255),
    (255, 90, 110),
    (255, 255, 255),
    (110, 220, 150),
    (150, 130, 220),
    (255, 240, 180),
)
LEFT_TINT = (255, 200, 90)  # the person's left eye, so that a mirrored head is seen at once
MATTE_LINE, LANDMARK_DOT, IRIS_DOT = (255, 0, 200), (255, 230, 0), (0, 255, 120)
MESH_PART = 0.45
DIMMED = np.linspace(130, 255, 256).astype(np.uint8)  # brightness of pixels by their weight
DOTS = sorted(
    {
        *pts.OVAL,
        *pts.OUTER_LIPS,
        *pts.INNER_LIPS,
        *pts.LEFT_LIDS,
        *pts.RIGHT_LIDS,
        *pts.LEFT_BROW,
        *pts.RIGHT_BROW,
        168,
        6,
        197,
        195,
        5,
        4,
    }
)


class OverlayPainter:
    """Paints frames of one head."""

    def __init__(self, head: HeadModel) -> None:
        self._faces = head.faces.numpy()
        self._tints = _face_tints(head)

    def paint(
        self,
        image: np.ndarray,
        vertices: np.ndarray,
        face_ids: np.ndarray,
        landmarks: np.ndarray | None,
        matte: np.ndarray,
        valid: np.ndarray,
    ) -> np.ndarray:
        """[H,W,3] uint8 from the image, the mesh in the camera's axes [V,3], the face of each pixel [H,W] (-1: none),
        detected landmarks [478,2] or None, matte and weights [H,W] uint8."""
        layer = np.take(self._shaded(vertices), face_ids, axis=0, mode="wrap")
        dark = image.copy()
        cv2.copyTo(cv2.addWeighted(image, 1 - MESH_PART, layer, MESH_PART, 0), (face_ids >= 0).astype(np.uint8), dark)
        cv2.multiply(dark, cv2.merge([cv2.LUT(valid, DIMMED)] * 3), dark, 1 / 255)
        borders, _ = cv2.findContours((matte > 127).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(dark, borders, -1, MATTE_LINE, 1)
        if landmarks is not None:
            for index in DOTS:
                _dot(dark, landmarks[index], LANDMARK_DOT)
            for iris in (pts.LEFT_IRIS[0], pts.RIGHT_IRIS[0]):
                cv2.circle(dark, tuple(np.round(landmarks[iris] * 16 - 8).astype(int)), 40, IRIS_DOT, 1, cv2.LINE_AA, 4)
        return dark

    def _shaded(self, vertices: np.ndarray) -> np.ndarray:
        """Colours uint8 [F+1,3] (the last is of pixels without a face) under a lamp beside the camera."""
        corners = vertices[self._faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
        light = np.clip(normals @ np.array([-0.35, -0.45, -0.82]), 0.08, 1)
        return np.concatenate([self._tints * light[:, None], np.zeros((1, 3))]).astype(np.uint8)


def paint_without_face(image: np.ndarray) -> np.ndarray:
    """A frame that is marked and skipped: dimmed, with a red border."""
    picture = (image // 2).astype(np.uint8)
    cv2.rectangle(picture, (0, 0), (image.shape[1] - 1, image.shape[0] - 1), (230, 40, 40), 4)
    cv2.putText(picture, "no face", (12, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (230, 40, 40), 2, cv2.LINE_AA)
    return picture


def _dot(picture: np.ndarray, point: np.ndarray, colour: tuple[int, int, int]) -> None:
    x, y = int(point[0]), int(point[1])
    if 0 <= x < picture.shape[1] - 1 and 0 <= y < picture.shape[0] - 1:
        picture[y : y + 2, x : x + 2] = colour


def _face_tints(head: HeadModel) -> np.ndarray:
    """Colour [F,3] of each face by the region that holds all of its corners."""
    faces = head.faces.numpy()
    tints = np.tile(np.array(SKIN, np.float32), (len(faces), 1))
    for names, tint in (
        (("scalp",), SCALP),
        (("neck",), NECK),
        (("lips",), LIPS),
        (("right_eyeball",), EYES),
        (("left_eyeball",), LEFT_TINT),
        (("teeth_upper", "teeth_lower"), TEETH),
    ):
        inside = np.zeros(head.vertex_count, bool)
        for name in names:
            inside[head.regions.get(name, np.zeros(0, int))] = True
        tints[inside[faces].all(1)] = tint
    return tints
