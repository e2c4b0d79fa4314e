# SPDX-License-Identifier: Apache-2.0
"""Mattes: which pixels are the person, by mediapipe's selfie segmentation or the user's masks.

The network's mask is 256 pixels wide; a guided filter (He et al. 2010) lays its border onto the picture's edges. From
there hair is found by colour (color_matting.py).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from blendsplat.errors import InputError, VideoError
from blendsplat.landmarks.detector import import_mediapipe
from blendsplat.landmarks.native_logs import quiet_native_logs
from blendsplat.video.images import list_images, read_image

_STEADY = 0.5  # share of the last frame's mask where nothing changed
_CHANGE = 0.15  # difference of the mask that counts as change
_EPSILON = 1e-4 * 255**2  # OpenCV's guided filter needs a guide of 0 to 255: of 0 to 1 its variances drown in rounding


class Segmenter:
    """mediapipe's selfie segmentation over consecutive frames of one clip: a coarse, steady mask."""

    name = "mediapipe-selfie"

    def __init__(self) -> None:
        mediapipe = import_mediapipe()
        model = Path(mediapipe.__file__).parent / "modules" / "selfie_segmentation" / "selfie_segmentation.tflite"
        if not hasattr(mediapipe, "solutions") or not model.is_file():
            raise InputError(
                "This mediapipe has no segmentation model inside (0.10.21 has): give a video with alpha, a folder of "
                "masks, or choose no matte."
            )
        with quiet_native_logs():
            self._network = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
            self._network.process(np.zeros((64, 64, 3), np.uint8))
        self._last: np.ndarray | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Image [H,W,3] uint8 -> probability of the person [H,W] float32, steadied over time."""
        small = cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)
        mask = self._network.process(small).segmentation_mask
        if self._last is not None:
            still = np.exp(-(((mask - self._last) / _CHANGE) ** 2)) * _STEADY
            mask = mask + still * (self._last - mask)
        self._last = mask
        return cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    def forget(self) -> None:
        """The next frame is of another shot."""
        self._last = None

    def close(self) -> None:
        """Free the model."""
        with quiet_native_logs():
            self._network.close()


def refine_matte(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Lay a coarse mask [H,W] float32 onto the edges of image [H,W,3] uint8 -> straight alpha [H,W] uint8."""
    radius = max(2, round(min(mask.shape) / 43))
    fine = cv2.ximgproc.guidedFilter(image, _levels(mask, 0.3, 0.7), radius, _EPSILON)
    return (_levels(fine, 0.3, 0.8) * 255 + 0.5).astype(np.uint8)


def _levels(mask: np.ndarray, black: float, white: float) -> np.ndarray:
    """Stretch so that ``black`` becomes 0 and ``white`` 1."""
    return np.clip((mask - black) / (white - black), 0, 1).astype(np.float32)


class MaskFolder:
    """The user's masks: pictures in natural order, one per frame of the source, white (or opaque) = the person.

    They have the source's size or its proportions. Raises VideoError when the folder holds no pictures.
    """

    def __init__(self, folder: Path, width: int, height: int) -> None:
        self._folder, self._width, self._height = folder, width, height
        self._files = list_images(folder)

    def __call__(self, number: int) -> np.ndarray:
        """Mask [height,width] uint8 of frame ``number`` of the source. Raises InputError, VideoError."""
        if number >= len(self._files):
            raise InputError(
                f"The folder {self._folder} holds {len(self._files)} masks but the video has more frames: one mask per "
                "frame is needed, counted from the video's first frame."
            )
        file = self._files[number]
        pair = read_image(file)
        if pair is None:
            raise VideoError(f"The mask {file} is damaged.")
        image, alpha = pair
        mask = alpha if alpha is not None and alpha.min() < 255 else image.max(-1)
        height, width = mask.shape
        if abs(width / height - self._width / self._height) > 0.01:
            raise InputError(f"The mask {file} is {width}x{height}, but the video is {self._width}x{self._height}.")
        if (width, height) == (self._width, self._height):
            return mask
        return cv2.resize(
            mask, (self._width, self._height), interpolation=cv2.INTER_AREA if width > self._width else cv2.INTER_LINEAR
        )
