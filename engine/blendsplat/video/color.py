# SPDX-License-Identifier: Apache-2.0
"""What a video's colour tags mean: the YUV matrix of untagged files, and how HDR becomes display-referred sRGB."""

from __future__ import annotations

from functools import lru_cache

import av
import numpy as np
from av.video.reformatter import Colorspace, ColorTrc

_UNSPECIFIED = (0, 2, 3)  # RGB, unspecified and reserved: nothing is said about a YUV matrix
_TRANSFERS = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}
_DISPLAY_CODES = 65536
_BRIGHTEST = 5.0  # times diffuse white; beyond it everything is white
_KNEE = 0.8
_BT2020_TO_BT709 = np.array(  # ITU-R BT.2087: inverse of the matrix from 709 to 2020, linear light
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    dtype=np.float32,
)


def source_matrix(frame: av.VideoFrame) -> Colorspace | None:
    """The YUV matrix of a frame, None when its own tag (or its being RGB) settles it.

    Untagged video follows the players' custom: above standard definition it is BT.709, else BT.601.
    """
    if frame.format.is_rgb or int(frame.colorspace) not in _UNSPECIFIED or frame.format.name.startswith("yuvj"):
        return None
    return Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601


def hdr_transfer(frame: av.VideoFrame) -> str | None:
    """The name "PQ" or "HLG" for HDR frames, else None."""
    return _TRANSFERS.get(int(frame.color_trc))


def hdr_to_sdr(image: np.ndarray, transfer: str) -> np.ndarray:
    """BT.2100 [H,W,3] uint16 (RGB, non-linear) -> sRGB [H,W,3] uint8, diffuse white just below the display's."""
    light = _inverse_curve(transfer)[image]
    if transfer == "HLG":  # the system gamma of a 1000 nit display (ITU-R BT.2100, table 5)
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= np.float32(1000 / 203) * luminance[..., None] ** np.float32(0.2)
    light = light @ _BT2020_TO_BT709.T
    codes = np.clip(light * (_DISPLAY_CODES / _BRIGHTEST), 0, _DISPLAY_CODES - 1).astype(np.uint16)
    return _display_curve()[codes]


@lru_cache(maxsize=2)
def _inverse_curve(transfer: str) -> np.ndarray:
    """Linear light of every 16 bit code [65536]; PQ: 1 = 203 nits (ITU-R BT.2408), HLG: the scene's, 1 = peak."""
    signal = np.linspace(0, 1, 65536)
    if transfer == "PQ":
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = signal ** (1 / m2)
        return (10000 / 203 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)


@lru_cache(maxsize=1)
def _display_curve() -> np.ndarray:
    """sRGB code [_DISPLAY_CODES] uint8 of linear light: identity up to a knee, then smoothly towards white."""
    light = (np.arange(_DISPLAY_CODES) + 0.5) * (_BRIGHTEST / _DISPLAY_CODES)
    light = np.where(
        light <= _KNEE, light, _KNEE + (1 - _KNEE) * (1 - np.exp(-np.maximum(light - _KNEE, 0) / (1 - _KNEE)))
    )
    display = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (display * 255 + 0.5).astype(np.uint8)
