# SPDX-License-Identifier: Apache-2.0
"""From a cut-out picture to what the network reads, exactly as the published inference does it.

For pictures that are framed already; fit-image finds, mattes and frames the face of a photograph by itself.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from blendsplat.errors import InputError


def prepare_cutout(rgba: np.ndarray, size: int = 224) -> Tensor:
    """Straight RGBA uint8 [H,W,4], head and shoulders at about 0.8 of the frame -> RGB on white [3,size,size] in [0,1].

    Bicubic without a filter, corners on corners; a picture that is not square is stretched, as the published code does.
    Raises InputError for arrays of another kind.
    """
    if rgba.ndim != 3 or rgba.shape[2] != 4 or rgba.dtype != np.uint8 or min(rgba.shape[:2]) < 2:
        raise InputError(f"A cut-out is an array [H,W,4] of uint8, not {list(rgba.shape)} of {rgba.dtype}.")
    values = torch.from_numpy(np.ascontiguousarray(rgba)).permute(2, 0, 1).float() / 255
    on_white = values[:3] * values[3:] + 1 - values[3:]
    return interpolate(on_white[None], (size, size), mode="bicubic", align_corners=True)[0].clamp(0, 1)
