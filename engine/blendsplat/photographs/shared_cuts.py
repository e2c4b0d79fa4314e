# SPDX-License-Identifier: Apache-2.0
"""Squares around the faces of several photographs, of one size, and where they lie before one camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from blendsplat.fitting.face_crop import cut_square, framing
from blendsplat.refinement.pictures import Pictures

SIDE, SHARE = 270, 0.62  # pixels of a square; height of the face in it


@dataclass(frozen=True)
class FaceCut:
    """RGB and matte [S,S,4] uint8; its pixels for one of the camera, and its left upper corner [2] there."""

    plane: np.ndarray
    zoom: float
    corner: np.ndarray


def cut_face(image: np.ndarray, matte: np.ndarray, points: np.ndarray, zoom: float, corner: np.ndarray) -> FaceCut:
    """image [H,W,3] and matte [H,W] uint8 with the face's landmarks [478,2] in its pixels, of which ``zoom`` make one
    of the camera; ``corner`` [2]: where its left upper corner lies there."""
    left, top, side = square = framing(points, SHARE)
    plane = np.dstack([cut_square(image, square, SIDE), cut_square(matte, square, SIDE)])
    return FaceCut(plane, SIDE / side * zoom, corner + np.array([left, top]) / zoom)


def together(cuts: list[FaceCut]) -> Pictures:
    """The cuts of photographs that are refined together."""
    zooms, corners = np.array([cut.zoom for cut in cuts]), np.stack([cut.corner for cut in cuts])
    return Pictures(
        np.stack([cut.plane for cut in cuts]),
        1.0,
        *(torch.as_tensor(place, dtype=torch.float32) for place in (zooms, corners)),
    )
