# SPDX-License-Identifier: Apache-2.0
"""How well a picture confirms the fit, per frame and region of the face: from the residuals that are left.

A sample whose colour is where it should be misses it by its noise; one that is covered, blurred or elsewhere misses by
more. A region is fully confirmed up to TWICE its usual misses in this clip, then the less the more it misses, and less
where hardly any of its samples is in sight.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from blendsplat.refinement.surface_samples import SurfaceSamples

REGIONS = {
    "forehead and hair": ("scalp",), "face": ("face",), "eyes": ("left_eyelids", "right_eyelids"), "nose": ("nose",),
    "mouth": ("lips",), "ears": ("left_ear", "right_ear"), "neck": ("neck",),
}  # fmt: skip
FRAME = {"face": 0.4, "eyes": 0.2, "nose": 0.2, "mouth": 0.2}  # what makes a frame's confidence
TWICE = 2.0
LEAST_MISS, WORST_MISS = 0.05, 4.0  # of a sample, in units of the robust loss: less is noise, more says nothing more
IN_SIGHT = 0.4  # of the samples that are usually seen: fewer lower the confidence


def confidences(missed: Tensor, sight: Tensor, samples: SurfaceSamples) -> tuple[np.ndarray, np.ndarray]:
    """missed [F,N]: squares of the residuals in units of the robust loss; sight [F,N] -> of frames [F] and of regions
    [F,R], 0 to 1."""
    columns = []
    for names in REGIONS.values():
        numbers = [samples.regions.index(name) for name in names if name in samples.regions]
        chosen = torch.as_tensor(np.isin(samples.region, numbers))
        columns.append(_confidence(missed[:, chosen], sight[:, chosen]))
    regions = torch.stack(columns, 1).numpy()
    order = list(REGIONS)
    frame = sum(share * regions[:, order.index(name)] for name, share in FRAME.items())
    return np.asarray(frame, np.float32), regions.astype(np.float32)


def _confidence(missed: Tensor, sight: Tensor) -> Tensor:
    seen = sight.sum(1)
    if not seen.any():
        return torch.zeros(len(missed))
    mean = (missed.clamp_max(WORST_MISS) * sight).sum(1) / seen.clamp_min(1e-6)
    usual = mean[seen > 0.5 * seen.median()].median().clamp(LEAST_MISS, 1.0)
    confirmed = (TWICE * usual / mean.clamp_min(1e-6)).clamp(0, 1)
    return confirmed * (seen / (IN_SIGHT * seen.median()).clamp_min(1e-6)).clamp(0, 1)
