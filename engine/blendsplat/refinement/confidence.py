# SPDX-License-Identifier: Apache-2.0
"""How well a picture confirms the fit, per frame and region of the face: from the residuals that are left.

A sample whose colour is where it should be keeps nearly its whole weight under the robust loss, one that is covered,
blurred or elsewhere loses it. A region's confidence is what its samples keep, over what they usually keep in this clip,
and falls where hardly any of them is in sight.
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
LOST = 0.35  # of what a region usually keeps: nothing is confirmed
IN_SIGHT = 0.4  # of the samples that are usually seen: fewer lower the confidence


def confidences(kept: Tensor, sight: Tensor, samples: SurfaceSamples) -> tuple[np.ndarray, np.ndarray]:
    """kept [F,N]: the robust weight of each sample, 0 to 1; sight [F,N] -> of frames [F] and regions [F,R], 0 to 1."""
    columns = []
    for names in REGIONS.values():
        numbers = [samples.regions.index(name) for name in names if name in samples.regions]
        chosen = torch.as_tensor(np.isin(samples.region, numbers))
        columns.append(_confidence(kept[:, chosen], sight[:, chosen]))
    regions = torch.stack(columns, 1).numpy()
    order = list(REGIONS)
    frame = sum(share * regions[:, order.index(name)] for name, share in FRAME.items())
    return np.asarray(frame, np.float32), regions.astype(np.float32)


def _confidence(kept: Tensor, sight: Tensor) -> Tensor:
    seen = sight.sum(1)
    if not seen.any():
        return torch.zeros(len(kept))
    share = (kept * sight).sum(1) / seen.clamp_min(1e-6)
    usual = share[seen > 0.5 * seen.median()].median().clamp_min(0.3)
    confirmed = ((share / usual - LOST) / (0.95 - LOST)).clamp(0, 1)
    return confirmed * (seen / (IN_SIGHT * seen.median()).clamp_min(1e-6)).clamp(0, 1)
