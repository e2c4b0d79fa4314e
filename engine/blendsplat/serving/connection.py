# SPDX-License-Identifier: Apache-2.0
"""The engine's end of the pipes: messages out through one writer thread, so that a slow reader never blocks the engine.

Also takes the process's standard streams for the protocol alone, so that a library's print cannot corrupt it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from blendsplat.serving.protocol import encode_message

_DROP_ABOVE = 64  # waiting messages beyond which progress and previews are dropped


class Outbox:
    """Sends messages in the order they were posted, from its own thread; ``on_broken`` is called if the pipe breaks."""

    def __init__(self, stream: BinaryIO, on_broken: Callable[[], None]) -> None:
        self._stream = stream
        self._on_broken = on_broken
        self._waiting: deque[list[bytes | memoryview]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def post(self, body: dict[str, Any], arrays: dict[str, np.ndarray] | None = None, droppable: bool = False) -> None:
        """Queue a message. droppable: leave it out when the reader is far behind. Encoding errors are the caller's."""
        chunks = encode_message(body, arrays)
        with self._changed:
            if self._closing or (droppable and len(self._waiting) > _DROP_ABOVE):
                return
            self._waiting.append(chunks)
            self._changed.notify()

    def close(self, timeout: float) -> None:
        """Send what waits, for at most ``timeout`` seconds, and take no more."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
                chunks = self._waiting.popleft()
            try:
                for chunk in chunks:
                    _write_all(self._stream, chunk)
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: the stream was closed
                with self._changed:
                    self._closing = True
                    self._waiting.clear()
                self._on_broken()
                return


def _write_all(stream: BinaryIO, chunk: bytes | memoryview) -> None:
    """An unbuffered stream may take a part only."""
    rest = memoryview(chunk)
    while rest.nbytes:
        rest = rest[stream.write(rest) or 0 :]


def take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """The real standard input and output, for the protocol alone; what stays in their place is empty and the log's.

    Works on file descriptors, so C libraries and child processes are kept out too.
    """
    source, sink = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (source, sink):
            msvcrt.setmode(descriptor, os.O_BINARY)
    return os.fdopen(source, "rb", buffering=0), os.fdopen(sink, "wb", buffering=0)
