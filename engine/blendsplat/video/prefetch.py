# SPDX-License-Identifier: Apache-2.0
"""Run an iterator in a thread of its own, a few items ahead; decoding releases the interpreter, so it costs no time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_END = object()


@contextmanager
def prefetch(items: Iterator[T], ahead: int = 4) -> Iterator[Iterator[T]]:
    """Yield an iterator over ``items``; errors come out in their place, leaving the block stops the thread."""
    line: queue.Queue = queue.Queue(ahead)
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                line.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(_END)
        except BaseException as error:  # handed over to the reader, whatever it is
            put(error)

    def read() -> Iterator[T]:
        while (item := line.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="blendsplat-decode", daemon=True)
    thread.start()
    try:
        yield read()
    finally:
        stop.set()
        thread.join()
