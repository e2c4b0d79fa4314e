# SPDX-License-Identifier: Apache-2.0
"""Where pictures come from while they happen: a camera, a network stream, or a video file that plays at its own rate.

All three are read by one thread through one interface, which is also what a test puts in their place.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from blendsplat.errors import VideoError
from blendsplat.video.color import source_matrix
from blendsplat.video.decode import VideoFile

OPEN_SECONDS, READ_SECONDS = 10.0, 3.0  # how long a stream may take to answer, and to send another picture


@dataclass(frozen=True)
class Picture:
    """image [H,W,3] uint8 sRGB; seconds since the source's first picture, increasing; again: a looped file's other
    rounds, which show nothing new."""

    image: np.ndarray
    seconds: float
    again: bool = False


class Capture(Protocol):
    """A source of pictures. ``name`` is what sentences call it; ``total``: how many pictures come, 0 where nobody
    knows; ``live``: whether they come whether or not somebody takes them."""

    name: str
    total: int
    live: bool

    def read(self) -> Picture | None:
        """The next picture, waited for; None at the end. Raises VideoError when the source fails."""

    def close(self) -> None:
        """Let go of the source; a ``read`` that waits in another thread may fail or end."""


class FileCapture:
    """A video file that plays at its own rate (``paced``), or as fast as it is taken; ``loop``: for ever."""

    def __init__(self, path: Path, paced: bool = True, loop: bool = False) -> None:
        """Raises VideoError for what is no readable video."""
        self._file = VideoFile(path)
        self.name, self.live = path.name, paced
        self._loop, self._closed = loop, threading.Event()
        frames = round((self._file.duration or 0.0) * self._file.fps)
        self.total = 0 if loop else frames
        self._begun: float | None = None
        self._pictures = self._played()

    def read(self) -> Picture | None:
        picture = next(self._pictures, None)
        if picture is None or self._closed.is_set():
            return None
        if self.live:
            now = time.monotonic()
            self._begun = now if self._begun is None else self._begun
            self._closed.wait(max(0.0, self._begun + picture.seconds - now))
        return picture

    def close(self) -> None:
        self._closed.set()

    def _played(self) -> Iterator[Picture]:
        offset, last, again = 0.0, 0.0, False
        while True:
            for frame in self._file.frames():
                last = offset + frame.timestamp
                yield Picture(frame.image, last, again)
            if not self._loop:
                return
            offset, again = last + 1 / self._file.fps, True


class DeviceCapture:
    """A camera or a network stream, opened by FFmpeg."""

    def __init__(self, name: str, url: str, format: str | None = None, options: dict[str, str] | None = None) -> None:
        """name: for sentences. Raises VideoError that says why it cannot be opened and what helps."""
        self.name, self.total, self.live = name, 0, True
        try:
            self._container: Any = av.open(url, format=format, options=options, timeout=(OPEN_SECONDS, READ_SECONDS))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(refusal(name, error), repr(error)) from error
        streams = self._container.streams.video
        if not streams:
            self._container.close()
            raise VideoError(f"{name} sends no pictures, only sound or data; choose another source.")
        streams[0].thread_type = "AUTO"
        self._base = float(streams[0].time_base or 0)
        self._frames = self._container.decode(streams[0])
        self._first: tuple[float, float | None] | None = None
        self._last = -1.0

    def read(self) -> Picture | None:
        try:
            frame = next(self._frames, None)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(refusal(self.name, error), repr(error)) from error
        if frame is None:
            return None
        image = frame.to_ndarray(format="rgb24", src_colorspace=source_matrix(frame))
        return Picture(image, self._time_of(frame.pts))

    def close(self) -> None:
        self._container.close()

    def _time_of(self, pts: int | None) -> float:
        """The source's own time stamp where it keeps step with the clock, else the clock's."""
        now = time.monotonic()
        said = pts * self._base if pts is not None and self._base else None
        if self._first is None:
            self._first = (now, said)
        clock = now - self._first[0]
        seconds = clock
        if said is not None and self._first[1] is not None and abs(said - self._first[1] - clock) < 1.0:
            seconds = said - self._first[1]
        self._last = max(seconds, self._last + 1e-3)
        return self._last


def refusal(name: str, error: Exception) -> str:
    """Why a camera or stream fails, and the way out."""
    number = getattr(error, "errno", None)
    if isinstance(error, (av.error.ExitError, av.error.TimeoutError)) or number == errno.ETIMEDOUT:
        return f"{name} sends nothing; check that it is running and that its address is right."
    if number == errno.EBUSY:
        return f"{name} is in use by another program; close it there, then start again."
    if number in (errno.EACCES, errno.EPERM):
        return f"This program may not open {name}; allow it in the system's settings for cameras, then start again."
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"{name} is not there; plug it in, or choose another source."
    return f"{name} cannot be read ({getattr(error, 'strerror', None) or error}); check it, or choose another source."
