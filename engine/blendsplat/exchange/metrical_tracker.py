# SPDX-License-Identifier: Apache-2.0
"""metrical-tracker's folder: checkpoint/*.frame of torch with the pictures beside it, read without running code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.errors import FormatError
from blendsplat.exchange.format import Format, Recording, checked, parameter_rows
from blendsplat.geometry import matrix_to_rotvec
from blendsplat.heads.torch_files import load_torch
from blendsplat.video.images import list_images, natural_key


def is_metrical_tracker(folder: Path) -> bool:
    """Whether ``folder`` is one."""
    return (folder / "checkpoint").is_dir()


def read_metrical_tracker(folder: Path) -> Recording:
    """metrical-tracker's folder: checkpoint/*.frame with images/ (or input/), paired in natural order.

    Raises FormatError, and UnsafeFileError for a checkpoint that wants to run code.
    """
    paths = sorted((folder / "checkpoint").glob("*.frame"), key=lambda path: natural_key(path.name))
    pictures = next((folder / name for name in ("images", "input") if (folder / name).is_dir()), None)
    if not paths or pictures is None:
        raise FormatError(f"{folder} lacks checkpoint/*.frame or the folder images/ (or input/) beside it.")
    images = list_images(pictures)
    if len(images) < len(paths):
        raise FormatError(f"{folder} has {len(paths)} checkpoints but only {len(images)} pictures in {pictures.name}/.")
    frames = [load_torch(path) for path in paths]
    try:
        flame = [frame["flame"] for frame in frames]
        eyes = parameter_rows(flame, "eyes", 12).reshape(-1, 2, 6)
        nothing = np.zeros((len(frames), 3))
        recording = Recording(
            made_by="metrical-tracker",
            images=images[: len(paths)],
            masks=[None] * len(paths),
            shape=np.asarray(flame[0]["shape"], dtype=np.float64).reshape(-1),
            offsets=None,
            expression=parameter_rows(flame, "exp"),
            root=nothing,
            neck=nothing.copy(),
            jaw=_from_6d(parameter_rows(flame, "jaw", 6)),
            eyes=_from_6d(eyes),
            eyelids=parameter_rows(flame, "eyelids", 2),
            translation=nothing.copy(),
            K=np.stack([np.asarray(frame["opencv"]["K"], dtype=np.float64).reshape(3, 3) for frame in frames]),
            viewmats=np.stack([_viewmat(frame["opencv"]) for frame in frames]),
            size=_size(frames[0].get("img_size")),
        )
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise FormatError(
            f"{paths[0].parent} does not hold metrical-tracker's checkpoints: {error}.", repr(error)
        ) from error
    return checked(recording, folder)


def _viewmat(opencv: dict[str, Any]) -> np.ndarray:
    viewmat = np.eye(4)
    viewmat[:3, :3] = np.asarray(opencv["R"], dtype=np.float64).reshape(3, 3)
    viewmat[:3, 3] = np.asarray(opencv["t"], dtype=np.float64).reshape(3)
    return viewmat


def _size(img_size: Any) -> tuple[int, int] | None:
    """metrical-tracker stores height, width."""
    if img_size is None:
        return None
    height, width = np.asarray(img_size).reshape(-1)[:2]
    return int(width), int(height)


def _from_6d(values: np.ndarray) -> np.ndarray:
    """Rotations as their first two rows [...,6], not quite orthonormal -> rotvecs [...,3] (Zhou et al. 2019)."""
    first, second = values[..., :3], values[..., 3:]
    x = first / np.linalg.norm(first, axis=-1, keepdims=True)
    y = second - (x * second).sum(-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    matrix = np.stack([x, y, np.cross(x, y)], -2)
    return matrix_to_rotvec(torch.as_tensor(matrix, dtype=torch.float64)).numpy()


FORMAT = Format(
    "metrical-tracker", "metrical-tracker's folder (it has checkpoint/)", is_metrical_tracker, read_metrical_tracker
)
