# SPDX-License-Identifier: Apache-2.0
"""What a part of the campaign counts, what it may use, and the table of it all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FAILURES_SHOWN = 20


@dataclass
class Row:
    """One line of the table.

    tried: how often; survived: how often it ended as it should; lost: how often something of the user's was gone, or a
    half-written file was taken for a whole one. slowest_s, peak_mb: the worst single case (0: not measured). failures:
    a sentence with its seed for each case that did not survive, enough to try it again.
    """

    part: str
    case: str
    tried: int = 0
    survived: int = 0
    lost: int = 0
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    note: str = ""
    failures: list[str] = field(default_factory=list)

    def good(self, seconds: float = 0.0, peak_mb: float = 0.0) -> None:
        self._tried(seconds, peak_mb)
        self.survived += 1

    def bad(self, what: str, *, lost: bool = False, seconds: float = 0.0, peak_mb: float = 0.0) -> None:
        self._tried(seconds, peak_mb)
        self.lost += lost
        self.failures.append(what)

    def _tried(self, seconds: float, peak_mb: float) -> None:
        self.tried += 1
        self.slowest_s, self.peak_mb = max(self.slowest_s, seconds), max(self.peak_mb, peak_mb)


@dataclass
class Share:
    """A part's folder, seed and time. most: no more than so many tries of a case (None: as many as the time allows)."""

    folder: Path
    seed: int
    seconds: float
    most: int | None = None
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.random = np.random.default_rng(self.seed)

    def left(self) -> float:
        """Seconds."""
        return self.seconds - (time.monotonic() - self._began)

    def wants(self, tried: int, target: int) -> bool:
        """Whether another try of a case is due, after ``tried`` of ``target``."""
        return tried < min(target, self.most or target) and self.left() > 0


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line per row, then what failed."""
    lines = [
        "| part | case | tried | survived | lost | slowest s | peak MB | |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        measured = (f"{row.slowest_s:.1f}" if row.slowest_s else "", f"{row.peak_mb:.0f}" if row.peak_mb else "")
        cells = (row.part, row.case, row.tried, row.survived, row.lost, *measured, row.note)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    for row in rows:
        if row.failures:
            lines += ["", f"{row.part}, {row.case}:", ""]
            lines += [f"- {' '.join(failure.split())}" for failure in row.failures[:FAILURES_SHOWN]]
            if len(row.failures) > FAILURES_SHOWN:
                lines.append(f"- and {len(row.failures) - FAILURES_SHOWN} more")
    return "\n".join(lines) + "\n"
