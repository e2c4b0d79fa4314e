# SPDX-License-Identifier: Apache-2.0
"""The line between two stages: bounded, so that a slow stage costs frames and never memory."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")
_WAKE = 0.1  # seconds after which who waits looks whether the line was closed


class Line(Generic[T]):
    """First in, first out. A full one lets its oldest item go and counts it (``dropping``), or makes the giver wait.

    ``room`` may be larger for a while (``widen``); each item that is taken then makes it one smaller, so that who fell
    behind catches up and does not stay behind.
    """

    def __init__(self, room: int, dropping: bool) -> None:
        self._usual = self._room = room
        self._dropping = dropping
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def ended(self) -> bool:
        """Whether nothing waits and nothing will come."""
        with self._changed:
            return self._closed or (self._ended and not self._items)

    def widen(self, room: int) -> None:
        """Take in more than usual: who takes is busy with something else."""
        with self._changed:
            self._room = max(room, self._usual)

    def put(self, item: T) -> None:
        """Into the line; into nothing once it is closed."""
        with self._changed:
            while not self._dropping and len(self._items) >= self._room and not self._closed:
                self._changed.wait(_WAKE)
            if self._closed:
                return
            self._items.append(item)
            self._trim()
            self._changed.notify_all()

    def take(self, wait: float) -> T | None:
        """The oldest item, waited for up to ``wait`` seconds; None when none came, or none will."""
        with self._changed:
            if not self._items and not self._ended and not self._closed:
                self._changed.wait(wait)
            if not self._items or self._closed:
                return None
            item = self._items.popleft()
            self._room = max(self._room - 1, self._usual)
            self._trim()
            self._changed.notify_all()
            return item

    def end(self) -> None:
        """Nothing more comes; what waits can still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def _trim(self) -> None:
        while self._dropping and len(self._items) > self._room:
            self._items.popleft()
            self.dropped += 1
