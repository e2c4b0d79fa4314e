# SPDX-License-Identifier: Apache-2.0
"""A batch on this machine: so many worker processes at a time, each for one clip, and the next clip when one ends."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from blendsplat.batch.child import Child, Work
from blendsplat.batch.clips import Unit
from blendsplat.batch.events import Heard
from blendsplat.batch.make import outcome_of

_LOOK_SECONDS = 0.2  # how soon a stop is noticed


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_local(
    units: Sequence[Unit], work: Work, workers: int, devices: Sequence[str], stopped: Callable[[], bool]
) -> Iterator[Heard]:
    """What is heard of ``units``; one event each has its outcome. devices: of the workers in turn. When ``stopped``
    says so, running workers keep what there is and those that wait are not begun; a generator that is closed kills
    them."""
    waiting: queue.SimpleQueue[Unit] = queue.SimpleQueue()
    events: queue.SimpleQueue[Heard | BaseException] = queue.SimpleQueue()
    running: dict[int, Child] = {}
    for unit in units:
        waiting.put(unit)
    ending = threading.Event()

    def serve(number: int) -> None:
        recipe = replace(work.recipe, device=devices[number % len(devices)])
        while True:
            try:
                unit = waiting.get_nowait()
            except queue.Empty:
                return
            if ending.is_set():
                events.put(Heard(unit, outcome=outcome_of(unit, "cancelled", exit_code=130)))
                continue
            child = running[number] = Child(unit, replace(work, recipe=recipe))
            if ending.is_set():  # it was set before anybody could find the child
                child.stop()
            try:
                outcome = child.run(lambda stage, share, unit=unit: events.put(Heard(unit, stage, share)))  # type: ignore[misc]
                events.put(Heard(unit, outcome=outcome))
            except BaseException as error:  # the process could not be started: told where it is heard
                events.put(error)
                return

    threads = [threading.Thread(target=serve, args=(n,), daemon=True) for n in range(max(1, min(workers, len(units))))]
    for thread in threads:
        thread.start()
    left = len(units)
    try:
        while left:
            if stopped() and not ending.is_set():
                ending.set()
                for child in list(running.values()):
                    child.stop()
            try:
                event = events.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(event, BaseException):
                raise event
            left -= event.outcome is not None
            yield event
    finally:
        ending.set()
        for child in list(running.values()):
            child.kill()
        for thread in threads:
            thread.join()
