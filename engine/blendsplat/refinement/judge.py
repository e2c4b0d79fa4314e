# SPDX-License-Identifier: Apache-2.0
"""What only a judge of the fit asks of the pictures: the light's colour, how sharp a face is, whether eyes are seen."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from blendsplat.refinement.pictures import Pictures
from blendsplat.refinement.regions import REGIONS

MOST_TINT = 1.6  # of a light's channels over their mean: what is beyond that is no light
DARK = 0.1  # of 1: a colour below tells no tint
OPEN = 0.07  # of the distance between the eyes: lids farther apart show an iris
IRIS = 0.02  # confidence of an iris that is there
MOSTLY, LEAST_MISSING = 0.5, 4  # share and number of frames without an iris: one is missed now and then
LEAST_FACE = 8  # pixels: smaller pictures have no sharpness


def tints(found: Tensor, wanted: Tensor, sight: Tensor) -> Tensor:
    """[B,3] of mean 1: the colour that the light of B frames has over the clip's, which the appearance's light, of
    brightness alone, does not know. found, wanted [B,N,3]; sight [B,N]. Medians, so that what covers a part of the face
    does not count for it."""
    told = (sight > 0.2)[..., None] & (wanted > DARK)
    ratio = torch.where(told, found / wanted.clamp_min(DARK), torch.nan)
    tint = ratio.nanmedian(1).values.nan_to_num(1.0).clamp_min(1e-3)
    tint = tint / tint.mean(1, keepdim=True)
    return tint.clamp(1 / MOST_TINT, MOST_TINT)


def sharpness(pictures: Pictures, pixels: Tensor, rows: Tensor | slice) -> Tensor:
    """[B]: energy of the second derivatives over the square of the brightness, in the box around the pixels [B,N,2]
    (of the camera) of each of the frames ``rows``."""
    placed, _ = pictures.place(pixels, rows)
    planes = pictures.planes[rows if isinstance(rows, slice) else rows.numpy()]
    found = [_sharpness(plane[..., :3], places) for plane, places in zip(planes, placed.numpy(), strict=True)]
    return torch.tensor(found, dtype=torch.float32)


def _sharpness(image: np.ndarray, places: np.ndarray) -> float:
    """Of an image [H,W,3] uint8, in the box around places [N,2]; 0 where hardly anything of that box lies in it."""
    size = np.array(image.shape[1::-1])
    low, high = np.clip([places.min(0), places.max(0)], 0, size).astype(int)
    if (high - low < LEAST_FACE).any():
        return 0.0
    grey = cv2.cvtColor(np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]), cv2.COLOR_RGB2GRAY)
    return float(np.square(cv2.Laplacian(grey, cv2.CV_64F)).mean() / max(float(grey.mean()), 1.0) ** 2)


def unseen_eyes(irises: np.ndarray, openings: np.ndarray, told: np.ndarray, sight: np.ndarray) -> np.ndarray:
    """[B,2] bool (left, right): eyes behind dark glasses. Where most of the frames in which the landmarks say that an
    eye is open, and in which it faces the camera, show no iris, none of them shows the eye; what covers it for a while
    is told by its colours. irises [B,2]: confidences; openings [B,2]; told [B]: landmarks were found; sight [B,2]: of
    the eye's samples, of those that are ever seen."""
    asked = (openings > OPEN) & told[:, None] & (sight > 0.5)
    missing = (asked & (irises < IRIS)).sum(0)
    hidden = (missing >= LEAST_MISSING) & (missing > MOSTLY * asked.sum(0))
    unseen: np.ndarray = told[:, None] & hidden
    return unseen


def eyes_in_sight(sight: Tensor, region: np.ndarray) -> np.ndarray:
    """[B,2]: how much of each eye's samples is in sight [B,N], over the most that ever is."""
    eyes = [sight[:, torch.as_tensor(region == REGIONS.index(name))].sum(1) for name in ("left eye", "right eye")]
    return np.stack([(eye / eye.amax().clamp_min(1e-6)).numpy() for eye in eyes], 1)
