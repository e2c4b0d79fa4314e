# SPDX-License-Identifier: GPL-3.0-or-later
"""What an imported clip is, as its folder says: how many frames, how large, how long, and its first picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .. import formats


@dataclass(frozen=True)
class Clip:
    """An imported clip. first: its first picture; None where the folder has none."""

    frames: int
    width: int
    height: int
    seconds: float
    source: str
    first: Path | None

    @property
    def summary(self) -> str:
        """As a folded panel says it."""
        return f"{self.frames} frames, {length(self.seconds)}"

    @property
    def size(self) -> str:
        return f"{self.width} x {self.height} pixels"


def read(folder: Path | None) -> Clip | None:
    """The clip in a folder; None where there is none or it does not say. Panels ask this all the time, so the file is
    read once."""
    path = folder / "clip.json" if folder is not None else None
    try:
        return _read(path, path.stat().st_mtime_ns) if path is not None else None
    except OSError:
        return None


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> Clip | None:
    try:
        told = formats.read_json(path)
        times = [float(value) for value in told["timestamps"]]
        width, height, source = int(told["width"]), int(told["height"]), str(told.get("source") or "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not times:
        return None
    span = times[-1] - times[0]
    seconds = span * len(times) / (len(times) - 1) if len(times) > 1 else 0.0  # the last frame is shown as well
    first = min((path.parent / "images").glob("*.png"), default=None)
    return Clip(len(times), width, height, seconds, source, first)


def length(seconds: float) -> str:
    """7.2 s, 1 min 05 s."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
