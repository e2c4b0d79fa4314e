# SPDX-License-Identifier: Apache-2.0
"""Requests that take longer than the reader may wait, and that never wait for a job: a thread for each method.

So a rig whose head takes seconds to read, or the first import of torch, holds up requests of its own method only.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from blendsplat.errors import InputError
from blendsplat.jobs.devices import use_all_threads
from blendsplat.serving.priority import Priority

WAITING_REQUESTS = 16  # of one method
Work = Callable[[], None]  # answers the request, with an error if need be; raises nothing


class InteractiveLane:
    """Runs requests in order within their method; jobs give way to them (Priority)."""

    def __init__(self, priority: Priority) -> None:
        self._priority = priority
        self._lines: dict[str, queue.Queue[Work]] = {}

    def submit(self, method: str, work: Work) -> None:
        """Put ``work`` in the line of ``method``. Called by one thread, the reader.

        Raises InputError when the line is full.
        """
        line = self._lines.get(method)
        if line is None:
            line = self._lines[method] = queue.Queue(WAITING_REQUESTS)
            threading.Thread(target=self._run, args=(line,), name=method, daemon=True).start()
        self._priority.begin()
        try:
            line.put_nowait(work)
        except queue.Full:
            self._priority.end()
            raise InputError(
                f"The engine has {WAITING_REQUESTS} unanswered requests {method}; wait for an answer first."
            ) from None

    def _run(self, line: queue.Queue[Any]) -> None:
        while True:
            work = line.get()
            try:
                use_all_threads()
                work()
            finally:
                self._priority.end()
