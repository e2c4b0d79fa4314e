# SPDX-License-Identifier: Apache-2.0
"""Pictures of other lenses as one lens takes them: scaled and moved, because nothing else differs between pinholes."""

from __future__ import annotations

import cv2
import numpy as np


def without_zoom(picture: np.ndarray, zoom: float, centre: np.ndarray, continued: bool = False) -> np.ndarray:
    """A picture [H,W] or [H,W,3] uint8, taken at ``zoom`` times the clip's focal length, as the clip's own lens takes
    it. centre [2]: the principal point in pixels. What lies outside of the picture is 0, or ``continued`` from its
    border. Without zoom the very same bytes."""
    if zoom == 1:
        return picture
    centre = np.asarray(centre, np.float64)
    return _warped(picture, np.array([zoom, zoom]), centre, centre, continued)


def of_another_lens(picture: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A picture [H,W] or [H,W,3] uint8 of a camera with the intrinsics ``own`` [3,3], as one with the intrinsics
    ``other`` takes it from the same place (pixels, no skew). What lies outside of the picture is 0."""
    focal = own[[0, 1], [0, 1]] / other[[0, 1], [0, 1]]
    return _warped(picture, focal, own[:2, 2], other[:2, 2], False)


def _warped(
    picture: np.ndarray, scale: np.ndarray, centre: np.ndarray, centre_after: np.ndarray, continued: bool
) -> np.ndarray:
    """A pixel at p is that of the picture at scale (p - centre_after) + centre."""
    height, width = picture.shape[:2]
    # a pixel's number is half a pixel beside its middle
    start = (centre - 0.5) - scale * (centre_after - 0.5)
    to_source = np.array([[scale[0], 0, start[0]], [0, scale[1], start[1]]])
    border = cv2.BORDER_REPLICATE if continued else cv2.BORDER_CONSTANT
    moved: np.ndarray = cv2.warpAffine(
        picture, to_source, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border
    )
    return moved
