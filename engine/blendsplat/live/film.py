# SPDX-License-Identifier: Apache-2.0
"""The session's preview as an mp4 that grows while it runs and appears, whole, when it ends."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from blendsplat.errors import StorageError
from blendsplat.files import atomic_path
from blendsplat.video.encode import add_stream, to_yuv

_RATE = 10  # pictures a second, about; each is shown at its own time
_TICK = Fraction(1, 1000)
_CRF = 23


class Film:
    """Pictures [H,W,3] uint8 of one size, each at its own time. Use it as a context manager; raises StorageError."""

    def __init__(self, path: Path, height: int, width: int) -> None:
        self._path, self._last = path, -1
        self._stack = ExitStack()
        try:
            temporary = self._stack.enter_context(atomic_path(path))
            self._container = self._stack.enter_context(
                av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"})
            )
            self._stream = add_stream(self._container, (height, width, 3), _RATE, _CRF)
            self._stream.codec_context.time_base = _TICK
        except (av.FFmpegError, OSError) as error:
            self._stack.close()
            raise self._failed(error) from error

    def add(self, image: np.ndarray, seconds: float) -> None:
        """Show ``image`` from ``seconds`` on."""
        self._last = max(self._last + 1, round(seconds * 1000))
        frame = to_yuv(image)
        frame.pts, frame.time_base = self._last, _TICK
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Put the file in place."""
        try:
            self._container.mux(self._stream.encode(None))
            self._stack.close()
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def abandon(self) -> None:
        """Leave nothing."""
        self._stack.__exit__(StorageError, StorageError("abandoned"), None)

    def _failed(self, error: Exception) -> StorageError:
        return StorageError(f"The preview {self._path} cannot be written: {getattr(error, 'strerror', error)}.", "")
