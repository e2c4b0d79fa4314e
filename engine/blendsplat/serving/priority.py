# SPDX-License-Identifier: Apache-2.0
"""Requests that Blender waits for go before jobs, which compute on the same processor."""

from __future__ import annotations

import threading

PAUSE_SECONDS = 0.25  # the longest that one check of a job waits, so that a stream of requests only slows it down


class Priority:
    """Counts the requests that are not answered yet; jobs pause while there are any."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._changed = threading.Condition()

    def begin(self) -> None:
        """A request came in."""
        with self._changed:
            self._unanswered += 1

    def end(self) -> None:
        """It was answered."""
        with self._changed:
            self._unanswered -= 1
            self._changed.notify_all()

    def give_way(self) -> None:
        """Called by jobs between their steps: return when nobody waits for an answer, at the latest after
        PAUSE_SECONDS."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unanswered, PAUSE_SECONDS)
