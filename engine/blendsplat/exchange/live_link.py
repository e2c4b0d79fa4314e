# SPDX-License-Identifier: Apache-2.0
"""A take of the phone app Live Link Face as a performance: ARKit's coefficients frame by frame, without any picture.

Its CSV has a timecode h:m:s:frames, the number of values, ARKit's 52 coefficients (capitalised) and the angles of head
and eyes in radians. The eyes come from their coefficients, which also tell the signs of the angles (yaw to the person's
right, pitch down); the head's are read the same way.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from blendsplat.errors import FormatError
from blendsplat.exchange.capture import Capture, CaptureFormat, checked, to_performance
from blendsplat.exchange.timecodes import timecode_seconds
from blendsplat.files import check_file
from blendsplat.heads.arkit import ARKIT, ARKIT_JOINTS
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance

SUFFIX = ".csv"
_TIME, _COUNT, _HEAD = "Timecode", "BlendShapeCount", ("HeadYaw", "HeadPitch", "HeadRoll")


def read_live_link(path: Path | str, head: HeadModel, head_source: str, K: np.ndarray, viewmat: np.ndarray,
                   size: tuple[int, int]) -> Performance:  # fmt: skip
    """The take as a performance of ``head``, as capture.to_performance. Raises FormatError for a file that is none,
    that is damaged, or has no frame."""
    return to_performance(read(Path(path)), head, head_source, K, viewmat, size)


def is_live_link(path: Path) -> bool:
    """Whether the file's first line is such a take's, with all of ARKit's expressions."""
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return names[:2] == [_TIME, _COUNT] and _whole(_columns([name.strip() for name in names]))


def read(path: Path, fps: float | None = None) -> Capture:
    """The take; fps: of its timecodes, where they do not count to 30 or 60. Raises FormatError."""
    check_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path} cannot be read as a take of Live Link Face.", repr(error)) from error
    names = [name.strip() for name in rows[0]] if rows else []
    columns = _columns(names)
    if not names or names[0] != _TIME or not _whole(columns):
        raise FormatError(
            f"{path} is no take of Live Link Face: its first line does not name a {_TIME} and ARKit's expressions."
        )
    if len(rows) < 2:
        raise FormatError(f"{path} holds no frame; record the take again.")
    valid = np.array([len(row) == len(names) for row in rows[1:]])
    table = np.zeros((len(rows) - 1, len(names)))
    for index, row in enumerate(rows[1:]):
        if valid[index]:
            table[index] = _numbers(path, index + 2, row)
    values = {name: table[:, index] for name, index in columns.items()}
    head = np.stack([values.pop(name, np.zeros(len(table))) for name in _HEAD], 1)
    seconds = timecode_seconds(path, [row[0] for row in rows[1:]], fps)
    return checked(Capture("Live Link Face", seconds, valid, values, head), path)


def _columns(names: list[str]) -> dict[str, int]:
    """ARKit's name, or an angle's, -> its column."""
    known = {name.lower(): name for name in (*ARKIT, *_HEAD)}
    return {known[name.lower()]: index for index, name in enumerate(names) if name.lower() in known}


def _whole(columns: dict[str, int]) -> bool:
    return set(ARKIT) - set(ARKIT_JOINTS) <= columns.keys()


def _numbers(path: Path, line: int, row: list[str]) -> list[float]:
    """A line's values, 0 for its timecode. Raises FormatError that names the line."""
    try:
        numbers = [0.0, *(float(text) for text in row[1:])]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise FormatError(f"{path}: line {line} holds something that is no number; record the take again.")
    return numbers


FORMAT = CaptureFormat("live-link", "a take of Live Link Face (.csv)", is_live_link, read)
