# SPDX-License-Identifier: Apache-2.0
"""Progress without a server: cancelling, and frames that somebody else puts into the inbox."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from blendsplat.errors import Cancelled
from blendsplat.progress import WAITING_BYTES, WAITING_FRAMES, Frame, FrameInbox, Progress


def test_without_frames_work_goes_on() -> None:
    progress, begin = Progress(), time.monotonic()
    assert progress.frames() == []
    assert time.monotonic() - begin < 0.05
    assert progress.frames(wait=0.25) == []
    assert time.monotonic() - begin >= 0.25
    progress.send_frame({"number": 1}, {"image": np.zeros((2, 2, 3), np.uint8)})
    progress.check()


def test_frames_come_in_order_and_once() -> None:
    progress = Progress()
    for number in range(3):
        assert progress.inbox.put(Frame({"number": number}))
    assert [frame.info["number"] for frame in progress.frames(wait=5)] == [0, 1, 2]
    assert progress.frames() == []


def test_waiting_ends_with_a_frame_or_a_cancel() -> None:
    progress, begin = Progress(), time.monotonic()
    threading.Timer(0.1, lambda: progress.inbox.put(Frame({}))).start()
    assert len(progress.frames(wait=30)) == 1
    progress.cancelled = True
    assert progress.frames(wait=30) == []
    assert time.monotonic() - begin < 5
    with pytest.raises(Cancelled):
        progress.check()


def test_the_inbox_is_bounded_by_number_and_by_bytes() -> None:
    inbox = FrameInbox()
    assert [inbox.put(Frame({})) for _ in range(WAITING_FRAMES + 1)] == [True] * WAITING_FRAMES + [False]
    assert len(inbox.take()) == WAITING_FRAMES and len(inbox) == 0

    half = Frame({}, {"image": np.broadcast_to(np.uint8(0), (WAITING_BYTES // 2 + 1,))})
    assert inbox.put(half) and not inbox.put(half)
    inbox.take()
    assert inbox.put(Frame({}, {"image": np.broadcast_to(np.uint8(0), (2 * WAITING_BYTES,))}))  # alone it passes
    assert not inbox.put(Frame({}, {"a": np.zeros(1)}))
