# SPDX-License-Identifier: Apache-2.0
"""Squares around the faces of several photographs, of one size, and where they lie before one camera."""

from __future__ import annotations

import numpy as np
import torch

from blendsplat.fitting.face_crop import cut_square, framing
from blendsplat.refinement.pictures import Pictures

SIDE, SHARE = 384, 0.62  # pixels of a square; height of the face in it


def cut_together(
    images: list[np.ndarray], mattes: list[np.ndarray], points: list[np.ndarray], zooms: list[float],
    corners: list[np.ndarray],
) -> Pictures:  # fmt: skip
    """images [H,W,3] and mattes [H,W] uint8, each with its face's landmarks [478,2] in its own pixels, of which
    ``zooms`` make one pixel of the camera, and whose corner lies at ``corners`` [2] of the camera."""
    planes, scales, places = [], [], []
    for image, matte, face, zoom, corner in zip(images, mattes, points, zooms, corners, strict=True):
        left, top, side = framing(face, SHARE)
        square = (left, top, side)
        planes.append(np.dstack([cut_square(image, square, SIDE), cut_square(matte, square, SIDE)]))
        scales.append(SIDE / side * zoom)
        places.append(corner + np.array([left, top]) / zoom)
    return Pictures(
        np.stack(planes), 1.0, torch.as_tensor(np.array(scales), dtype=torch.float32),
        torch.as_tensor(np.array(places), dtype=torch.float32),
    )  # fmt: skip
