# SPDX-License-Identifier: Apache-2.0
"""How well a picture confirms the fit, per frame and region of the face: from the residuals that are left.

A sample whose colour is where it should be misses it by its noise; one that is covered, blurred or elsewhere misses by
more. Two figures tell a region: the mean, which a cover over a part of it lifts, and the median, which teeth and the
edges of lips in an open mouth do not lift. A region is fully confirmed up to TWICE its usual misses in this clip, or
what is usual in any, then the less the more it misses, and less where hardly any of its samples is in sight.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from blendsplat.refinement.regions import REGIONS

FRAME = {
    "mouth": 0.2, "nose": 0.2, "left eye": 0.1, "right eye": 0.1, "left cheek": 0.1, "right cheek": 0.1, "chin": 0.1,
    "forehead": 0.1,
}  # what makes a frame's confidence  # fmt: skip
TWICE = 2.0
# Of a sample, in units of the robust loss: mouths that open wide and eyes that blink reach twice these.
LEAST_MEAN, LEAST_MEDIAN = 0.15, 0.04
WORST_MISS = 4.0  # more says nothing more
STEEP = 1.5  # power by which confidence falls with the misses
IN_SIGHT = 0.4  # of the samples that are usually seen: fewer lower the confidence
FLAT = 1e-6  # sharpness of a picture in which nothing is: a clip of such pictures has no soft ones
SHARP = 0.25  # of the clip's usual sharpness: below, the picture is too soft to confirm anything


def confidences(
    missed: Tensor, sight: Tensor, region: np.ndarray, sharpness: Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """missed [F,N]: squares of the residuals in units of the robust loss; sight [F,N]; region [N]: indices into
    REGIONS; sharpness [F] of the faces' pictures -> of frames [F] and of regions [F,R], 0 to 1."""
    parts = [torch.as_tensor(region == number) for number in range(len(REGIONS))]
    found = torch.stack([_confidence(missed[:, part], sight[:, part]) for part in parts], 1)
    if sharpness is not None:
        soft = (sharpness + FLAT) / (SHARP * sharpness.median() + FLAT)
        found = found * soft.clamp(0, 1)[:, None]
    regions = found.numpy().astype(np.float32)
    return of_frames(regions), regions


def of_frames(regions: np.ndarray) -> np.ndarray:
    """Of frames [F] from that of their regions [F,R]."""
    frames = sum(share * regions[:, REGIONS.index(name)] for name, share in FRAME.items())
    return np.clip(np.asarray(frames, np.float32), 0, 1)  # shares that add up to 1 may round above


def _confidence(missed: Tensor, sight: Tensor) -> Tensor:
    seen = sight.sum(1)
    if not seen.any():
        return torch.zeros(len(missed))
    capped = missed.clamp_max(WORST_MISS)
    mean = (capped * sight).sum(1) / seen.clamp_min(1e-6)
    shown = sight > 0.5 * sight.amax(1, keepdim=True).clamp_min(1e-6)
    median = torch.where(shown, capped, torch.nan).nanmedian(1).values.nan_to_num(WORST_MISS)
    often = seen > 0.5 * seen.median()
    confirmed = torch.ones(len(missed))
    for miss, least in ((mean, LEAST_MEAN), (median, LEAST_MEDIAN)):
        limit = TWICE * miss[often].median().clamp(least, 1.0)
        confirmed = torch.minimum(confirmed, (limit / miss.clamp_min(1e-6)) ** STEEP)
    return confirmed * (seen / (IN_SIGHT * seen.median()).clamp_min(1e-6)).clamp(0, 1)
