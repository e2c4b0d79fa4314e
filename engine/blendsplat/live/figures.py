# SPDX-License-Identifier: Apache-2.0
"""A session's statistics: counters, and rates over the last seconds."""

from __future__ import annotations

from collections import deque

WINDOW = 4.0  # seconds over which a rate is taken


class Rate:
    """How fast a counter grows, a second."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()

    def __call__(self, count: float, now: float) -> float:
        """Mark the counter at ``now`` (seconds) -> the rate over the last WINDOW; 0 at first."""
        self._marks.append((now, count))
        while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW:
            self._marks.popleft()
        (first, before), (last, after) = self._marks[0], self._marks[-1]
        return (after - before) / (last - first) if last > first else 0.0


class Mean:
    """An exponential mean of what comes; NaN before."""

    def __init__(self, memory: float = 0.9) -> None:
        self._memory, self.value = memory, float("nan")

    def __call__(self, value: float) -> None:
        first = self.value != self.value
        self.value = value if first else self._memory * self.value + (1 - self._memory) * value
