# SPDX-License-Identifier: Apache-2.0
"""A table with a column for each of ARKit's coefficients, from whatever program, as a capture.

Programs agree on Apple's names and on little else: capitals, eyeBlink_L for eyeBlinkLeft, a time, a frame's number, a
timecode or nothing, angles in degrees or radians, coefficients as percent. What has to be guessed is said in the notes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blendsplat.errors import FormatError
from blendsplat.exchange.capture import FPS, Capture, checked
from blendsplat.exchange.timecodes import clock_seconds, timecode_seconds
from blendsplat.heads.arkit import ARKIT, EYE_LOOKS

FEWEST = 5  # of ARKit's names: with fewer a table is taken for something else
PERCENT = 2.0  # coefficients above are percent
HALF_TURN = 3.3  # radians: no head turns farther, so that greater angles are degrees
SHOWN = 8  # names in a sentence
_TIMECODES, _FRAMES = ("timecode", "smpte"), ("frame", "frames", "frameindex", "framenumber", "index")
_CLOCKS = ("time", "timestamp", "seconds", "sec", "times", "t", "timestampms", "timems", "ms", "timeseconds", "timesec")
_AXES = ("yaw", "pitch", "roll")
_TURNS = {
    **{f"head{axis}": f"head{axis}" for axis in _AXES},
    **{f"headrotation{axis}": f"head{axis}" for axis in _AXES},
    **{f"{side}eye{axis}": f"{side}eye{axis}" for side in ("left", "right") for axis in _AXES},
    **{f"eye{axis}{side}": f"{side}eye{axis}" for side in ("left", "right") for axis in _AXES},
}
_ANGLES = frozenset(_TURNS.values())
_KNOWN = {name.lower(): name for name in ARKIT}

Cell = str | float | None  # None and "": nothing


@dataclass
class Table:
    """names of C columns; rows: lists of up to C cells; places: what sentences call each row ("line 7"). fps: what the
    file says of its own rate, where it does."""

    made_by: str
    names: list[str]
    rows: list[list[Cell]]
    places: list[str]
    fps: float | None = None


def capture_of(table: Table, path: Path, fps: float | None) -> Capture:
    """The table's capture. A row whose coefficients are all left out shows no face. Raises FormatError: too few of
    ARKit's names, something that is no number, no frame."""
    columns = _columns(table, path)
    if not table.rows:
        raise FormatError(f"{path} holds no frame; record or export it again.")
    coefficients = [name for name in columns if name in ARKIT]
    valid = np.array([any(_cell(row, columns[name]) is not None for name in coefficients) for row in table.rows])
    numbers = {name: _numbers(table, path, column, valid) for name, column in columns.items() if not _is_time(name)}
    notes = _missing(coefficients, numbers)
    values = {name: numbers[name] for name in coefficients}
    greatest = max(float(np.abs(value).max()) for value in values.values())
    if greatest > PERCENT:
        values = {name: value / 100 for name, value in values.items()}
        notes.append(f"Its values go up to {greatest:.4g} and were taken for percent.")
    seconds, said = _seconds(table, path, columns, fps)
    head = np.stack([numbers.get(f"head{axis}", np.zeros(len(table.rows))) for axis in _AXES], 1)
    angles = [name for name in numbers if name in _ANGLES]
    widest = max((float(np.abs(numbers[name]).max()) for name in angles), default=0.0)
    if widest > HALF_TURN or any("deg" in table.names[columns[name]].lower() for name in angles):
        notes.append(f"The angles of head and eyes go up to {widest:.4g} and were taken for degrees.")
        head, numbers = np.radians(head), numbers | {name: np.radians(numbers[name]) for name in angles}
    eyes = _eyes(numbers, len(table.rows)) if not set(EYE_LOOKS) & set(values) else None
    return checked(Capture(table.made_by, seconds, valid, values, head, eyes, said + notes), path)


def plain(name: str) -> str:
    """A column's name without capitals, units and signs: "eyeBlink_L" -> "eyeblinkleft"."""
    name = re.sub(r"\(.*?\)|\[.*?\]", "", name).strip()
    name = re.sub(r"(?<=[a-z])_?[_.\- ]L$", "Left", re.sub(r"(?<=[a-z])_?[_.\- ]R$", "Right", name))
    name = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub(
        r"(?<=yaw|oll)(degrees|degree|deg|radians|rad)$|(?<=pitch)(degrees|degree|deg|radians|rad)$", "", name
    )


def is_coefficient(name: str) -> bool:
    """Whether a column of this name holds one of ARKit's coefficients."""
    return plain(name) in _KNOWN


def _columns(table: Table, path: Path) -> dict[str, int]:
    """ARKit's name, "timecode", "clock", "frame", or an angle's name, -> its column."""
    found: dict[str, int] = {}
    for index, given in enumerate(table.names):
        name = plain(given)
        kind = (
            _KNOWN.get(name) or _TURNS.get(name) or ("timecode" if name in _TIMECODES else "")
            or ("clock" if name in _CLOCKS else "frame" if name in _FRAMES else "")
        )  # fmt: skip
        if kind:
            found.setdefault(kind, index)
    known = [name for name in found if name in ARKIT]
    if len(known) < FEWEST:
        shown = ", ".join(repr(name) for name in table.names[:SHOWN]) + (", ..." if len(table.names) > SHOWN else "")
        raise FormatError(
            f"{path} names {len(known)} of ARKit's 52 expressions (jawOpen, mouthSmileLeft, ...) among its columns: "
            f"{shown or 'none'}. Export it with ARKit's names."
        )
    return found


def _is_time(name: str) -> bool:
    return name in ("timecode", "clock", "frame")


def _missing(coefficients: list[str], numbers: dict[str, np.ndarray]) -> list[str]:
    """What of ARKit is not in the table, as a note. Eyes may be told by angles instead."""
    told = set(coefficients)
    if any(name.startswith(("lefteye", "righteye")) for name in numbers) and not told & set(EYE_LOOKS):
        told |= set(EYE_LOOKS)
    missing = [name for name in ARKIT if name not in told and name != "tongueOut"]
    if not missing:
        return []
    shown = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")
    moves = "stays" if len(missing) == 1 else "stay"
    return [f"It has no column for {shown}, which {moves} at rest."]


def _cell(row: list[Cell], column: int) -> Cell:
    """What a row has in a column; None where that is nothing."""
    value = row[column] if column < len(row) else None
    return None if isinstance(value, str) and not value.strip() else value


def _numbers(table: Table, path: Path, column: int, valid: np.ndarray) -> np.ndarray:
    """A column [F], 0 where no face is seen. Raises FormatError that names row and column."""
    numbers = np.zeros(len(table.rows))
    for index in np.flatnonzero(valid):
        value = _cell(table.rows[index], column)
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = np.nan
        if not np.isfinite(number):
            what = "nothing" if value is None else repr(value)
            raise FormatError(
                f"{path}: {table.places[index]} holds {what} for {table.names[column]}, which is no number; export it "
                "again, or take that row out."
            )
        numbers[index] = number
    return numbers


def _seconds(table: Table, path: Path, columns: dict[str, int], fps: float | None) -> tuple[np.ndarray, list[str]]:
    """When the frames were taken [F], and what is to be said of it."""
    every, rate = np.ones(len(table.rows), bool), fps or table.fps
    if "timecode" in columns and all(":" in str(_cell(row, columns["timecode"])) for row in table.rows):
        return timecode_seconds(path, [str(row[columns["timecode"]]) for row in table.rows], rate), []
    for name in ("clock", "timecode"):  # some programs call a number of seconds a timecode
        if name in columns:
            return clock_seconds(_numbers(table, path, columns[name], every)), []
    note = (
        [] if rate else [f"It says nothing of time: {FPS:g} frames a second were taken. Say its rate if it is another."]
    )
    if "frame" in columns:
        return _numbers(table, path, columns["frame"], every) / (rate or FPS), note
    return np.arange(len(table.rows)) / (rate or FPS), note


def _eyes(numbers: dict[str, np.ndarray], frames: int) -> np.ndarray | None:
    """[F,2,2]: yaw and pitch of the left and the right eye; None where the table does not tell them."""
    sides = [[numbers.get(f"{side}eye{axis}") for axis in ("yaw", "pitch")] for side in ("left", "right")]
    if all(angle is None for side in sides for angle in side):
        return None
    zeros = np.zeros(frames)
    return np.stack([np.stack([zeros if angle is None else angle for angle in side], 1) for side in sides], 1)
