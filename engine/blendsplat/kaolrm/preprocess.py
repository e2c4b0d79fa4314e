# SPDX-License-Identifier: Apache-2.0
"""From a framed face to what the network reads; how it becomes small belongs to the weights (Config.resize).

The published weights read what the published inference gives them ("bicubic"). The small default that ships was
measured, and its fits tuned, on area averages ("area"): its config.json says so.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from blendsplat.errors import InputError
from blendsplat.kaolrm.config import Resize


def prepare_picture(picture: np.ndarray, size: int, resize: Resize) -> Tensor:
    """RGB on white [H,W,3] float32 in [0,1] -> [3,size,size] in [0,1].

    bicubic: without a filter, corners on corners, exactly as the published inference; area: means of what a pixel
    covers. A picture that is not square is stretched, as the published code does.
    """
    if resize == "area":
        small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA).clip(0, 1).astype(np.float32)
        return torch.from_numpy(small).permute(2, 0, 1).contiguous()
    values = torch.from_numpy(np.ascontiguousarray(picture, np.float32)).permute(2, 0, 1)
    return interpolate(values[None], (size, size), mode="bicubic", align_corners=True)[0].clamp(0, 1)


def prepare_cutout(rgba: np.ndarray, size: int = 224, resize: Resize = "bicubic") -> Tensor:
    """Straight RGBA uint8 [H,W,4], head and shoulders at about 0.8 of the frame -> RGB on white [3,size,size] in [0,1].

    Raises InputError for arrays of another kind.
    """
    if rgba.ndim != 3 or rgba.shape[2] != 4 or rgba.dtype != np.uint8 or min(rgba.shape[:2]) < 2:
        raise InputError(f"A cut-out is an array [H,W,4] of uint8, not {list(rgba.shape)} of {rgba.dtype}.")
    return prepare_picture(on_white(rgba), size, resize)


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Straight RGBA uint8 [H,W,4] -> RGB float32 [H,W,3] in [0,1] on white."""
    values = rgba.astype(np.float32) / 255
    result: np.ndarray = values[..., :3] * values[..., 3:] + 1 - values[..., 3:]
    return result
