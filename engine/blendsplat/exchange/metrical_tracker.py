# SPDX-License-Identifier: Apache-2.0
"""metrical-tracker's folder: checkpoint/*.frame of torch with the pictures beside it, read without running code."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blendsplat.errors import FormatError
from blendsplat.exchange.format import Format, Recording, checked, parameter_rows
from blendsplat.geometry import matrix_to_rotvec
from blendsplat.heads.torch_files import load_torch
from blendsplat.video.images import list_images, natural_key

_WAY_OUT = "A frame needs both: put the missing file there, or move its partner out of the folder."


def is_metrical_tracker(folder: Path) -> bool:
    """Whether ``folder`` is one."""
    return (folder / "checkpoint").is_dir()


def read_metrical_tracker(folder: Path) -> Recording:
    """metrical-tracker's folder: checkpoint/*.frame with images/ (or input/), paired by paired_pictures.

    Raises FormatError, and UnsafeFileError for a checkpoint that wants to run code.
    """
    paths = sorted((folder / "checkpoint").glob("*.frame"), key=lambda path: natural_key(path.name))
    pictures = next((folder / name for name in ("images", "input") if (folder / name).is_dir()), None)
    if not paths or pictures is None:
        raise FormatError(f"{folder} lacks checkpoint/*.frame or the folder images/ (or input/) beside it.")
    images, steps = paired_pictures(paths, list_images(pictures))
    frames = [load_torch(path) for path in paths]
    try:
        flame = [frame["flame"] for frame in frames]
        eyes = parameter_rows(flame, "eyes", 12).reshape(-1, 2, 6)
        nothing = np.zeros((len(frames), 3))
        recording = Recording(
            made_by="metrical-tracker",
            images=images,
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
            steps=steps,
        )
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise FormatError(
            f"{paths[0].parent} does not hold metrical-tracker's checkpoints: {error}.", repr(error)
        ) from error
    return checked(recording, folder)


def paired_pictures(checkpoints: list[Path], pictures: list[Path]) -> tuple[list[Path], np.ndarray | None]:
    """The picture of every checkpoint, and the frames' numbers [F] where some are left out (None: where none is).

    Both come in natural order. The tracker counts checkpoints from 0 and FFmpeg pictures from 1, so what pairs them is
    that their numbers' difference stays the same; pictures after the last checkpoint (the tracker was stopped) are not
    used. Names without numbers are paired in their order. Raises FormatError that names what has no partner.
    """
    numbers, shown = _numbers(checkpoints), _numbers(pictures)
    if numbers is None or shown is None:
        if len(pictures) < len(checkpoints):
            raise FormatError(
                f"{checkpoints[len(pictures)]} has no picture: there are {len(checkpoints)} checkpoints but only "
                f"{len(pictures)} pictures in {pictures[0].parent}."
            )
        return pictures[: len(checkpoints)], None
    offset = shown[0] - numbers[0]
    if len(shown) != len(numbers) and (numbers[0] != 0 or offset not in (0, 1)):
        raise FormatError(
            f"{checkpoints[0]} and {pictures[0]} are the first ones, and there are {len(checkpoints)} checkpoints and "
            f"{len(pictures)} pictures: which belong together cannot be told, because something before them is "
            f"missing. {_WAY_OUT}"
        )
    picture_of = dict(zip(shown, pictures, strict=True))
    tracked = {number + offset for number in numbers}
    for number, path in zip(numbers, checkpoints, strict=True):
        if number + offset not in picture_of:
            raise FormatError(f"{path} has no picture number {number + offset} in {pictures[0].parent}. {_WAY_OUT}")
    for number in shown:
        if number not in tracked and number < numbers[-1] + offset:
            raise FormatError(
                f"{picture_of[number]} has no checkpoint number {number - offset} in {checkpoints[0].parent}. "
                f"{_WAY_OUT}"
            )
    whole = len(numbers) == numbers[-1] - numbers[0] + 1
    return [picture_of[number + offset] for number in numbers], None if whole else np.array(numbers)


def _numbers(paths: list[Path]) -> list[int] | None:
    """The number in each name that counts: the last one that rises from name to name; None where there is none."""
    found = [re.findall(r"[0-9]+", path.stem) for path in paths]
    for column in range(-1, -1 - min(map(len, found), default=0), -1):
        numbers = [int(parts[column]) for parts in found]
        if all(before < after for before, after in pairwise(numbers)):
            return numbers
    return None


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
