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
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from blendsplat.serving.protocol import encode_message

_DROP_ABOVE = 64  # waiting messages beyond which progress is dropped
_BEHIND_BYTES = 64 * 2**20  # waiting bytes beyond which whoever can wait does
_STOP_SECONDS = 0.1  # how soon who waits notices that he need not


@dataclass
class _Waiting:
    """An encoded message that is not sent yet."""

    chunks: list[bytes | memoryview]
    slot: str | None

    @property
    def bytes(self) -> int:
        return sum(memoryview(chunk).nbytes for chunk in self.chunks)


class Outbox:
    """Sends messages in the order they were posted, from its own thread; ``on_broken`` is called if the pipe breaks."""

    def __init__(self, stream: BinaryIO, on_broken: Callable[[], None]) -> None:
        self._stream = stream
        self._on_broken = on_broken
        self._waiting: deque[_Waiting] = deque()
        self._slots: dict[str, _Waiting] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def post(
        self, body: dict[str, Any], arrays: dict[str, np.ndarray] | None = None, *, droppable: bool = False,
        slot: str | None = None,
    ) -> None:  # fmt: skip
        """Queue a message. Encoding errors are the caller's.

        droppable: leave it out when the reader is far behind. slot: a name whose messages replace each other while they
        wait, each in the place of the one before; only the newest is sent.
        """
        message = _Waiting(encode_message(body, arrays), slot)
        with self._changed:
            if self._closing or (droppable and len(self._waiting) > _DROP_ABOVE):
                return
            if slot is not None and slot in self._slots:
                self._slots[slot].chunks = message.chunks
                return
            if slot is not None:
                self._slots[slot] = message
            self._waiting.append(message)
            self._changed.notify_all()

    def notify(
        self, method: str, params: dict[str, Any], arrays: dict[str, np.ndarray] | None = None, *,
        droppable: bool = False, slot: str | None = None,
    ) -> None:  # fmt: skip
        """Post a notification."""
        self.post({"jsonrpc": "2.0", "method": method, "params": params}, arrays, droppable=droppable, slot=slot)

    def wait_for_room(self, stop: Callable[[], bool]) -> None:
        """Return when the reader has caught up to _BEHIND_BYTES, or soon after ``stop()`` has become true."""
        with self._changed:
            while self._waiting and sum(message.bytes for message in self._waiting) > _BEHIND_BYTES and not stop():
                self._changed.wait(_STOP_SECONDS)

    def close(self, timeout: float) -> None:
        """Send what waits, for at most ``timeout`` seconds, and take no more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)

    def _run(self) -> None:
        while (message := self._next()) is not None:
            try:
                for chunk in message.chunks:
                    _write_all(self._stream, chunk)
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: the stream was closed
                with self._changed:
                    self._closing = True
                    self._waiting.clear()
                    self._slots.clear()
                    self._changed.notify_all()
                self._on_broken()
                return

    def _next(self) -> _Waiting | None:
        """The oldest message, out of its slot, as soon as there is one; None at the end."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if not self._waiting:
                return None
            message = self._waiting.popleft()
            if message.slot is not None:
                del self._slots[message.slot]
            self._changed.notify_all()
            return message


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
