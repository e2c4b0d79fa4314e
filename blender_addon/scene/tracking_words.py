# SPDX-License-Identifier: GPL-3.0-or-later
"""What a clip's tracking says of itself as a whole: how the mesh sits on the head, and what the engine noted.

It lies in tracking.npz, so it is still there when the file is opened again and the job that made it is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .. import formats


@dataclass(frozen=True)
class Told:
    """uncovered, beyond: shares of the bare head without mesh, and of mesh beside it; None where nobody knows. notes:
    the engine's sentences."""

    uncovered: float | None
    beyond: float | None
    notes: tuple[str, ...]


def read(folder: Path | None) -> Told | None:
    """Of a tracked clip's folder; None where it holds no tracking that can be read. Panels ask this all the time, so a
    file is read once."""
    path = folder / "tracking.npz" if folder is not None else None
    try:
        return _read(path, path.stat().st_mtime_ns) if path is not None else None
    except OSError:
        return None


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int) -> Told | None:
    try:
        meta = formats.read_performance(path).meta
    except formats.FileError:
        return None
    figures, notes = meta.get("figures"), meta.get("notes")
    figures = figures if isinstance(figures, dict) else {}
    uncovered, beyond = (
        float(value) if isinstance(value := figures.get(name), (int, float)) else None
        for name in ("uncovered", "beyond")
    )
    return Told(uncovered, beyond, tuple(map(str, notes)) if isinstance(notes, list) else ())
