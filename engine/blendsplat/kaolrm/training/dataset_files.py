# SPDX-License-Identifier: Apache-2.0
"""Single files of KaoLRM's data sets, read with every fault named: pictures with alpha, masks, camera poses, arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from blendsplat.errors import FormatError
from blendsplat.files import check_file
from blendsplat.kaolrm.conventions import viewmat_of_pose


def read_rgba(path: Path, size: int | None = None) -> Image.Image:
    """A picture with straight alpha, ``size`` pixels a side. Raises FormatError: unreadable, not square, no alpha."""
    image = _read(path)
    if "A" not in image.getbands() and "transparency" not in image.info:
        raise FormatError(f"{path} has no alpha channel; matte it, so that the head stands alone.")
    return _square(image.convert("RGBA"), path, size)


def read_mask(path: Path, size: int) -> np.ndarray:
    """A grey picture as float32 [S,S] in [0,1]. Raises FormatError."""
    mask: np.ndarray = np.asarray(_square(_read(path).convert("L"), path, size), np.float32) / 255
    return mask


def on_colour(image: Image.Image, level: float) -> np.ndarray:
    """Straight RGBA -> float32 [S,S,3] over grey of ``level``: 1 is white."""
    rgba: np.ndarray = np.asarray(image, np.float32) / 255
    return rgba[..., :3] * rgba[..., 3:] + level * (1 - rgba[..., 3:])


def read_viewmat(path: Path) -> np.ndarray:
    """A stored pose (camera-to-world [3,4], Blender axes) -> world-to-camera [4,4]. Raises FormatError."""
    pose = read_array(path, (3, 4))
    if np.abs(pose[:, :3] @ pose[:, :3].T - np.eye(3)).max() > 1e-3:
        raise FormatError(f"{path} is no camera pose: its rotation is not orthogonal.")
    return viewmat_of_pose(pose)


def read_array(path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    """A .npy of finite numbers as float64. Raises FormatError when it is missing, damaged or of another shape."""
    check_file(path)
    try:
        array = np.load(path, allow_pickle=False).astype(np.float64)
    except FileNotFoundError as error:
        raise FormatError(f"{path} is missing.") from error
    except Exception as error:  # zip, numpy and the disk each raise their own
        raise FormatError(f"{path} is damaged or no .npy file.", repr(error)) from error
    fits = array.ndim == len(shape) and all(w in (None, h) for h, w in zip(array.shape, shape, strict=False))
    if not fits or not np.isfinite(array).all():
        wanted = ",".join("?" if size is None else str(size) for size in shape)
        raise FormatError(f"{path} holds {list(array.shape)} instead of finite numbers [{wanted}].")
    return array


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path} cannot be read as a picture.", repr(error)) from error


def _square(image: Image.Image, path: Path, size: int | None) -> Image.Image:
    if image.width != image.height:
        raise FormatError(f"{path} is {image.width} x {image.height} pixels; the pictures of a data set are square.")
    if size is None or image.width == size:
        return image
    return image.resize((size, size), Image.Resampling.BICUBIC)
