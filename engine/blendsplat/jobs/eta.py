# SPDX-License-Identifier: Apache-2.0
"""The time that a stage of work still needs, from how fast it went so far."""

from __future__ import annotations

import time
from collections.abc import Callable


class EtaClock:
    """Seconds left of a stage, from the rate since the stage began."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: str | None = None
        self._start = (0.0, 0.0)

    def estimate(self, stage: str, done: float, total: float) -> float | None:
        """None until something is known."""
        now = self._clock()
        if stage != self._stage or done < self._start[1]:
            self._stage, self._start = stage, (now, done)
            return None
        elapsed, finished = now - self._start[0], done - self._start[1]
        return elapsed / finished * max(total - done, 0.0) if finished > 0 and elapsed > 0 else None
