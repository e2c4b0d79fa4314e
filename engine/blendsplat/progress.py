# SPDX-License-Identifier: Apache-2.0
"""How long work reports itself: stage, count, figures, preview images; how it learns that it was cancelled; and how
frames reach it and leave it while it runs.

The command line draws a bar from it, the server sends notifications, tests pass the silent default.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blendsplat.errors import Cancelled

if TYPE_CHECKING:
    import numpy as np

WAITING_FRAMES = 32  # about a second of a camera
WAITING_BYTES = 256 * 2**20
_CANCEL_SECONDS = 0.1  # how soon work that waits for a frame notices that it was cancelled


@dataclass
class Frame:
    """A frame on its way to running work or from it: ``info`` as JSON can carry it, and arrays by name."""

    info: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())


class FrameInbox:
    """Frames that wait for running work, first in first out; at most WAITING_FRAMES, and WAITING_BYTES unless it is
    one frame alone. Filled and emptied from different threads."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> bool:
        """False when it is full: the frame is left out."""
        with self._changed:
            held = sum(waiting.bytes for waiting in self._frames)
            if len(self._frames) >= WAITING_FRAMES or (self._frames and held + frame.bytes > WAITING_BYTES):
                return False
            self._frames.append(frame)
            self._changed.notify()
        return True

    def take(self, wait: float = 0.0) -> list[Frame]:
        """All that wait, oldest first; none within ``wait`` seconds: []."""
        with self._changed:
            if not self._frames:
                self._changed.wait(wait)
            taken = list(self._frames)
            self._frames.clear()
        return taken


class Progress:
    """Silent default; subclasses override ``update``, ``preview`` and ``send_frame`` and may set ``cancelled`` from
    another thread. Who has frames for the work puts them into ``inbox``."""

    def __init__(self) -> None:
        self.cancelled = False
        self.inbox = FrameInbox()

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        """Report that ``done`` of ``total`` units of ``stage`` are finished. figures: e.g. loss=0.02, psnr=29.1."""

    def note(self, sentence: str) -> None:
        """Tell something that stays to be read, whatever goes on."""

    def preview(self, image: np.ndarray) -> None:
        """Offer a preview image [H,W,3] uint8 sRGB; only the newest matters."""

    def frames(self, wait: float = 0.0) -> list[Frame]:
        """The frames that came since the last call, oldest first. Waits up to ``wait`` seconds for the first one, or
        until the work is cancelled."""
        end = time.monotonic() + wait
        while not (taken := self.inbox.take(min(_CANCEL_SECONDS, max(0.0, end - time.monotonic())))):
            if self.cancelled or time.monotonic() >= end:
                break
        return taken

    def send_frame(self, info: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Send a frame to whoever started the work: in order, none is left out. Raises Cancelled if it has to wait for
        the reader and the work is cancelled meanwhile."""

    def offer_frame(self, info: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Send a frame of which only the newest matters: one that still waits for the reader is left out for it, so
        this never waits."""

    def check(self) -> None:
        """Raise Cancelled if the user cancelled. Call it between frames and between training steps."""
        if self.cancelled:
            raise Cancelled()
