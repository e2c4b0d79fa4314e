# SPDX-License-Identifier: Apache-2.0
"""Pictures of a lens that zooms, brought back to one focal length: about the principal point a zoom is a mere scale."""

from __future__ import annotations

import cv2
import numpy as np


def without_zoom(picture: np.ndarray, zoom: float, centre: np.ndarray, continued: bool = False) -> np.ndarray:
    """A picture [H,W] or [H,W,3] uint8, taken at ``zoom`` times the clip's focal length, as the clip's own lens takes
    it. centre [2]: the principal point in pixels. What lies outside of the picture is 0, or ``continued`` from its
    border. Without zoom the very same bytes."""
    if zoom == 1:
        return picture
    height, width = picture.shape[:2]
    start = (1 - zoom) * (np.asarray(centre, np.float64) - 0.5)  # a pixel's number is half a pixel beside its middle
    to_source = np.array([[zoom, 0, start[0]], [0, zoom, start[1]]])
    border = cv2.BORDER_REPLICATE if continued else cv2.BORDER_CONSTANT
    moved: np.ndarray = cv2.warpAffine(
        picture, to_source, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border
    )
    return moved
