# SPDX-License-Identifier: Apache-2.0
"""When a capture's frames were taken: timecodes, clocks of any unit, and counted frames, as seconds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from blendsplat.errors import FormatError

_RATES = (30, 60, 120)  # frames a second that captures' timecodes count in: the first that their frames allow
_DAY = 24 * 3600.0
_UNITS = ((1.0, 1.0), (1e3, 1e-3), (1e6, 1e-6))  # steps below it are counted in it, seconds of it


def timecode_seconds(path: Path, codes: list[str], rate: float | None = None) -> np.ndarray:
    """Timecodes h:m:s:frames (drop-frame's h:m:s;frames too) or h:m:s.part as seconds [F]; past midnight they go on.

    rate: frames a second; of one that is no whole number (29.97) timecodes count the next whole one (30), and those
    with a semicolon leave out two numbers a minute, but not in every tenth. None, or one that they count beyond: 30,
    or as many as they count to.
    Raises FormatError.
    """
    try:
        parts = [[float(part) for part in re.split("[:;]", code.strip())] for code in codes]
        if not parts or len({len(part) for part in parts}) != 1 or len(parts[0]) not in (3, 4):
            raise ValueError("not of one kind")
    except ValueError as error:
        raise FormatError(f"{path} has a timecode that is not hours:minutes:seconds:frames.", repr(error)) from error
    table = np.array([part if len(part) == 4 else [*part, 0.0] for part in parts])
    if not np.isfinite(table).all():
        raise FormatError(f"{path} has a timecode that is not hours:minutes:seconds:frames.")
    most = table[:, 3].max()
    if rate is None or most >= np.ceil(rate - 1e-9):  # what they count to rules another rate out
        rate = next((one for one in _RATES if most < one), most + 1)
    counted = np.ceil(rate - 1e-9)
    numbers = table @ np.array([3600 * counted, 60 * counted, counted, 1.0])
    if any(";" in code for code in codes):
        minutes = table[:, 0] * 60 + table[:, 1]
        numbers -= 2 * counted / 30 * (minutes - minutes // 10)
    passed: np.ndarray = np.unwrap(numbers, period=_DAY * counted) / rate
    return passed


def clock_seconds(times: np.ndarray) -> np.ndarray:
    """Times [F] of a clock that counts seconds, milliseconds, microseconds or nanoseconds, as seconds: faces are
    captured in steps of less than a second and more than a thousandth of one."""
    steps = np.diff(times)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    unit = next((seconds for below, seconds in _UNITS if usual < below), 1e-9)
    return (times - times[0]) * unit
