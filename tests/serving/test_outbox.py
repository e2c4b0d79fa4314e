# SPDX-License-Identifier: Apache-2.0
"""The outbox: order, what may be dropped, slots that hold only the newest, readers that sleep or are gone."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from blendsplat.serving import connection
from blendsplat.serving.connection import Outbox
from blendsplat.serving.protocol import Message, read_message


class SleepingReader(io.RawIOBase):
    """A stream whose writer is held up until ``wake``."""

    def __init__(self) -> None:
        self.written = io.BytesIO()
        self.entered, self._awake = threading.Event(), threading.Event()
        self.broken = False

    def write(self, data: Any) -> int:
        self.entered.set()
        self._awake.wait(30)
        if self.broken:
            raise BrokenPipeError
        return self.written.write(data)

    def wake(self) -> None:
        self._awake.set()


@pytest.fixture
def reader() -> Iterator[SleepingReader]:
    stream = SleepingReader()
    yield stream
    stream.wake()


@pytest.fixture
def outbox(reader: SleepingReader) -> Outbox:
    """An outbox whose reader already holds up a first message."""
    box = Outbox(reader, on_broken=lambda: None)
    box.post({"jsonrpc": "2.0", "n": "first"})
    assert reader.entered.wait(10)
    return box


def received(outbox: Outbox, reader: SleepingReader) -> list[Message]:
    """What the reader gets after the message that it was held up in."""
    reader.wake()
    outbox.close(10)
    reader.written.seek(0)
    messages = []
    while (message := read_message(reader.written)) is not None:
        messages.append(message)
    assert messages.pop(0).body["n"] == "first"
    return messages


def post(outbox: Outbox, number: int, **how: Any) -> None:
    outbox.post({"jsonrpc": "2.0", "n": number}, {"a": np.array([number])}, **how)


def test_a_slot_holds_only_the_newest(outbox: Outbox, reader: SleepingReader) -> None:
    for number in range(10):
        post(outbox, number, slot="preview job-1")
        post(outbox, 100 + number, slot="preview job-2")
        post(outbox, 200 + number)
    messages = received(outbox, reader)
    assert [m.body["n"] for m in messages] == [9, 109, *range(200, 210)]
    assert [m.arrays["a"][0] for m in messages[:2]] == [9, 109]


def test_a_slot_is_free_again_when_its_message_was_sent(outbox: Outbox, reader: SleepingReader) -> None:
    post(outbox, 1, slot="preview")
    reader.wake()
    while outbox._waiting:
        time.sleep(0.01)
    post(outbox, 2, slot="preview")
    assert [m.body["n"] for m in received(outbox, reader)] == [1, 2]


def test_progress_is_dropped_when_the_reader_is_far_behind_and_a_slot_is_not(
    outbox: Outbox, reader: SleepingReader
) -> None:
    for number in range(200):
        post(outbox, number, droppable=True)
    post(outbox, 500, slot="preview")
    post(outbox, 501)
    numbers = [m.body["n"] for m in received(outbox, reader)]
    assert numbers == [*range(connection._DROP_ABOVE + 1), 500, 501]


def test_waiting_for_room(outbox: Outbox, reader: SleepingReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_BEHIND_BYTES", 100)
    outbox.wait_for_room(lambda: False)  # nothing waits behind the message that is being written
    outbox.post({"jsonrpc": "2.0", "n": 1}, {"a": np.zeros(200, np.uint8)})
    stopped = threading.Event()
    threading.Timer(0.1, stopped.set).start()
    outbox.wait_for_room(stopped.is_set)
    assert stopped.is_set()
    threading.Timer(0.1, reader.wake).start()
    outbox.wait_for_room(lambda: False)
    assert not outbox._waiting


def test_nobody_waits_for_a_reader_that_is_gone(
    outbox: Outbox, reader: SleepingReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_BEHIND_BYTES", 100)
    outbox.post({"jsonrpc": "2.0", "n": 1}, {"a": np.zeros(200, np.uint8)})
    reader.broken = True
    threading.Timer(0.1, reader.wake).start()
    outbox.wait_for_room(lambda: False)
    post(outbox, 2, slot="preview")
    post(outbox, 3)
    assert not outbox._waiting
