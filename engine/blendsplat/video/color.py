# SPDX-License-Identifier: Apache-2.0
"""What a video's colour tags mean: which YUV matrix holds for untagged files, and how HDR becomes display-referred sRGB."""

from __future__ import annotations

from functools import lru_cache

import av
import numpy as np
from av.video.reformatter import Colorspace, ColorTrc
from PIL import Image, ImageFilter

_UNSPECIFIED = (0, 2, 3)  # RGB, unspecified and reserved: nothing is said about a YUV matrix
_TRANSFERS = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}
_LATTICE = 33
_BT2020_TO_BT709 = np.array(  # ITU-R BT.2087: inverse of the matrix from 709 to 2020, linear light
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)


def source_matrix(frame: av.VideoFrame) -> Colorspace | None:
    """The YUV matrix of a frame, None when its own tag (or its being RGB) settles it.

    Untagged video follows the players' custom: above standard definition it is BT.709, else BT.601.
    """
    if frame.format.is_rgb or int(frame.colorspace) not in _UNSPECIFIED or frame.format.name.startswith("yuvj"):
        return None
    return Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601


def hdr_transfer(frame: av.VideoFrame) -> str | None:
    """"PQ" or "HLG" for HDR frames, else None."""
    return _TRANSFERS.get(int(frame.color_trc))


def hdr_to_sdr(image: np.ndarray, transfer: str) -> np.ndarray:
    """BT.2100 [H,W,3] uint8 (RGB, non-linear) -> sRGB [H,W,3] uint8, through a lookup cube (trilinear)."""
    return np.asarray(Image.fromarray(image).filter(_cube(transfer)))


@lru_cache(maxsize=2)
def _cube(transfer: str) -> ImageFilter.Color3DLUT:
    axis = np.linspace(0, 1, _LATTICE)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")  # red varies fastest, as Pillow wants
    light = _scene_light(np.stack([red, green, blue], -1).reshape(-1, 3), transfer)
    light = np.clip(light @ _BT2020_TO_BT709.T, 0, None)
    peak = light.max(-1, keepdims=True)
    light = light * (_shoulder(peak) / np.maximum(peak, 1e-9))  # on the maximum, so that hues stay
    display = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    return ImageFilter.Color3DLUT(_LATTICE, np.clip(display, 0, 1).astype(np.float32).ravel())


def _scene_light(signal: np.ndarray, transfer: str) -> np.ndarray:
    """BT.2100 signal [N,3] -> linear display light, 1 = diffuse white (203 nits, ITU-R BT.2408)."""
    if transfer == "PQ":
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = signal ** (1 / m2)
        return 10000 / 203 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return 1000 / 203 * scene * luminance[:, None] ** 0.2


def _shoulder(light: np.ndarray, knee: float = 0.8) -> np.ndarray:
    """Identity up to ``knee``, then smoothly towards 1."""
    over = np.maximum(light - knee, 0)
    return np.where(light <= knee, light, knee + (1 - knee) * (1 - np.exp(-over / (1 - knee))))
