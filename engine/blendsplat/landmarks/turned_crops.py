# SPDX-License-Identifier: Apache-2.0
"""How certain a face's landmarks are, which the detector's own score does not say: it runs on several turned crops.

Where it sees the face its answers agree; where it guesses (a hand over the mouth, a drawing, an animal) they scatter.
"""

from __future__ import annotations

import cv2
import numpy as np

from blendsplat.landmarks import points as pts
from blendsplat.landmarks.detector import LandmarkDetector, box_distance, box_size

CROP, CROP_SIDE = 512, 1.9  # pixels of the crops that are searched; their side in face heights
CROPS = ((0.0, 1.0), (-9.0, 1.12), (9.0, 0.92), (4.0, 1.25))  # turn in degrees, zoom


def detect_in_crops(image: np.ndarray, box: np.ndarray, detector: LandmarkDetector) -> list[np.ndarray]:
    """Landmarks [478,3] in image [H,W,3] uint8, once for each of CROPS that shows the face at box [4]. detector: one
    that searches each picture afresh."""
    found = (_detect_in_crop(image, box, turn, zoom, detector) for turn, zoom in CROPS)
    return [points for points in found if points is not None]


def agreed(detections: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, float]:
    """Of several detections [478,3]: their median [478,3], how far they stray from it [478] over the distance between
    the eyes, and that distance in pixels."""
    solid = np.median(np.stack(detections), 0)
    points = solid[:, :2]
    eyes = max(float(np.linalg.norm(points[list(pts.LEFT_IRIS)].mean(0) - points[list(pts.RIGHT_IRIS)].mean(0))), 1e-6)
    spread = np.linalg.norm(np.stack(detections)[..., :2] - points, axis=-1).mean(0) / eyes
    return solid, spread, eyes


def _detect_in_crop(
    image: np.ndarray, box: np.ndarray, turn: float, zoom: float, detector: LandmarkDetector
) -> np.ndarray | None:
    """Landmarks [478,3] in ``image`` seen through one turned and zoomed crop around ``box``; None: not this face."""
    centre = (box[:2] + box[2:]) / 2
    scale = zoom * CROP / (CROP_SIDE * box_size(box))
    matrix = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, scale), np.float64)
    matrix[:, 2] = matrix[:, 2] + CROP / 2 - centre
    shown = matrix.copy()
    # OpenCV counts pixels from their centres, we from their corners
    shown[:, 2] = matrix[:, 2] + matrix[:, :2].sum(1) / 2 - 0.5
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    crop = cv2.warpAffine(image, shown, (CROP, CROP), flags=how, borderMode=cv2.BORDER_REPLICATE)
    back = cv2.invertAffineTransform(matrix)
    found = [
        np.column_stack([face.points[:, :2] @ back[:, :2].T + back[:, 2], face.points[:, 2] / scale])
        for face in detector.detect_all(crop, 0.0)
    ]
    boxes = [np.concatenate([points[:, :2].min(0), points[:, :2].max(0)]) for points in found]
    near = [(box_distance(b, box), n) for n, b in enumerate(boxes) if box_distance(b, box) < 0.8]
    return found[min(near)[1]] if near else None
