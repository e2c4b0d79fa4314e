# SPDX-License-Identifier: Apache-2.0
"""What a foreign format is to this program: how it is recognised, read and written; and what every reader gives.

A file a format, one line in registry.py. Readers keep the other tracker's conventions for the head (FLAME), but give
OpenCV cameras and rotation vectors throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.errors import FormatError
from blendsplat.heads.performance import Performance
from blendsplat.progress import Progress
from blendsplat.video.clip import Clip


@dataclass
class Recording:
    """F frames of one FLAME head, float64. Rotations are rotvecs; root about the root joint, then translation."""

    made_by: str
    images: list[Path]  # F
    masks: list[Path | None]  # F
    shape: np.ndarray  # [S]
    offsets: np.ndarray | None  # [V,3]
    expression: np.ndarray  # [F,E]
    root: np.ndarray  # [F,3]
    neck: np.ndarray  # [F,3]
    jaw: np.ndarray  # [F,3]
    eyes: np.ndarray  # [F,2,3] left, right
    eyelids: np.ndarray  # [F,2]
    translation: np.ndarray  # [F,3]
    K: np.ndarray  # [F,3,3]
    viewmats: np.ndarray  # [F,4,4] world-to-camera, OpenCV axes
    size: tuple[int, int] | None = None  # width, height that K refers to; None: the pictures'
    steps: np.ndarray | None = None  # [F] rising: which frames of the video these are; None: all of them
    seconds: np.ndarray | None = None  # [F] rising: when they were taken, where the recording knows it
    fps: float | None = None  # frames per second, where the recording knows it
    views: bool = False  # the frames are of several cameras: of every moment one for each, one after the other


@dataclass(frozen=True)
class Format:
    """One tracker's format. detect(folder): whether it is of this format; read(folder): raises FormatError,
    UnsafeFileError; write(clip, performance, folder, progress) into an empty folder, None: it is only read;
    read_views(folder): as read, of every camera, None: it has one."""

    name: str
    marked_by: str  # what a folder of it holds, for the sentence that refuses others: "VHAP's export (x.json)"
    detect: Callable[[Path], bool]
    read: Callable[[Path], Recording]
    write: Callable[[Clip, Performance, Path, Progress], None] | None = None
    read_views: Callable[[Path], Recording] | None = None


def _where(name: str, value: np.ndarray) -> str:
    """ " in frame 12" where a frame's numbers are not finite, "" of what belongs to no frame."""
    if not value.size or name in ("shape", "offsets"):
        return ""
    return f" in frame {int(np.flatnonzero(~np.isfinite(value.reshape(len(value), -1)).all(1))[0])}"


def parameter_rows(parameters: list[dict[str, Any]], name: str, columns: int | None = None) -> np.ndarray:
    """The parameter of every frame, [F,columns]. Raises ValueError for other sizes, KeyError where it is missing."""
    rows = np.stack([np.asarray(values[name], dtype=np.float64).reshape(-1) for values in parameters])
    if rows.shape[1] == 0 or (columns is not None and rows.shape[1] != columns):
        raise ValueError(f"{name} has {rows.shape[1]} values instead of {columns or 'some'}")
    return rows


def checked(recording: Recording, folder: Path) -> Recording:
    """The recording if it holds frames of finite numbers and true cameras. Raises FormatError."""
    frames = len(recording.images)
    if not frames:
        raise FormatError(f"{folder} holds no frames; export it again.")
    values = {
        name: value for name, value in vars(recording).items() if isinstance(value, np.ndarray)
    }  # of every frame but shape and offsets
    for name, value in values.items():
        if name not in ("shape", "offsets") and len(value) != frames:
            raise FormatError(f"{folder} has {frames} pictures but {name} of {len(value)} frames; export it again.")
        if not value.size or not np.isfinite(value).all():
            raise FormatError(f"{folder}: {name} is empty or not finite{_where(name, value)}; export it again.")
    for times in (recording.steps, recording.seconds):
        if times is not None and (np.diff(times) <= 0).any():
            raise FormatError(f"{folder}: the times of its frames do not rise; export it again.")
    sizes = recording.size or (1, 1)
    if (recording.K[:, [0, 1], [0, 1]] <= 0).any() or min(sizes) < 1:
        raise FormatError(f"{folder}: its focal lengths, or its pictures' size, are not above zero; export it again.")
    return recording
