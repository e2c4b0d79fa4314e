# SPDX-License-Identifier: Apache-2.0
"""A camera that does not exist, before a generated person: pictures that somebody films, with the landmarks' truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from blendsplat.errors import VideoError
from blendsplat.fitting.fit_options import FitOptions
from blendsplat.heads.load import load_head
from blendsplat.live.capture import Capture, Picture
from blendsplat.live.session import LiveResult, LiveSettings, Parts, run_live
from blendsplat.progress import Frame, Progress
from blendsplat.systems import load_preset
from blendsplat.training.presets import Preset
from blendsplat.video.crop import Crop
from hostile_clips import FRAMES, Footage, plain

RATE = 25.0
SIDE = 64  # pixels of the take
# of the whole session that many tests look at:
AWAY = range(50, 60)  # pictures without a face
ODD = (66,)  # and one whose landmarks are no numbers
COUNT = 90


@dataclass
class Session:
    """What went in and what came out."""

    folder: Path
    listener: Listener
    result: LiveResult


def preset(**changes: Any) -> Preset:
    """The live preset, tiny."""
    small = {"image_size": SIDE, "uv_resolution": 20, "blendshapes": 4, "mlp_width": 16, "batch": 2}
    return load_preset("live", small | changes)


def footage_row(number: int) -> int:
    """The generated clip to and fro: which of its frames picture ``number`` shows."""
    there = number % (2 * FRAMES - 2)
    return min(there, 2 * FRAMES - 2 - there)


class FakeCamera:
    """``count`` pictures (None: for ever). live: with a clock of its own, twice as fast as a camera's. ``trouble`` is
    called with a picture's number before it is given."""

    def __init__(
        self, count: int | None, live: bool = False, trouble: Callable[[int], None] | None = None, first: int = 0
    ) -> None:
        self.name, self.total, self.live = "The camera Test", count or 0, live
        self._count, self._next, self._first, self.trouble = count, first, first, trouble
        self.footage: Footage = plain()
        self.closed = False

    def read(self) -> Picture | None:
        number = self._next
        if self._count is not None and number >= self._count:
            return None
        if self.trouble is not None:
            self.trouble(number)
        if self.live:
            time.sleep(1 / RATE / 2)
        self._next += 1
        return Picture(self.footage.images[footage_row(number)], (number - self._first) / RATE)

    def close(self) -> None:
        self.closed = True


class TrueLook:
    """The truth's matte and landmarks; nothing in the pictures ``away``, and numbers that are none in ``odd``."""

    detector, matte = "truth", "external"

    def __init__(self, away: Iterable[int] = (), odd: Iterable[int] = ()) -> None:
        self._away, self._odd = frozenset(away), frozenset(odd)
        self._footage = plain()

    def __call__(self, number: int, image: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray | None]:
        row, side = footage_row(number), image.shape[0]
        footage = self._footage
        matte = cv2.resize(footage.mattes[row], (side, side), interpolation=cv2.INTER_AREA)
        points = footage.points[row] * (side / footage.images.shape[1])
        if number in self._odd:
            points = np.full_like(points, np.nan)
        return matte, None if number in self._away else points

    def close(self) -> None:
        """Nothing to free."""


class WholePicture:
    """The square is the picture, from the second one on; or never."""

    def __init__(self, never: bool = False) -> None:
        self._seen, self._never, self.notes = 0, never, ["framed"]

    def __call__(self, picture: Picture) -> Crop | None:
        self._seen += 1
        return None if self._never or self._seen < 2 else (0, 0, picture.image.shape[0])

    def close(self) -> None:
        """Nothing to free."""


def parts(look: TrueLook | None = None, framing: WholePicture | None = None) -> Parts:
    """Of a session without models."""
    fit = FitOptions(offsets=False, keyframes=6)
    return Parts(lambda: framing or WholePicture(), lambda: look or TrueLook(), load_head("human"), fit)


class Listener(Progress):
    """Keeps what a session says; ``when(figures, message)`` may answer with what is then put into the inbox, once."""

    def __init__(self, when: Callable[[dict[str, float], str], dict[str, Any] | str | None] | None = None) -> None:
        super().__init__()
        self._when = when
        self.figures: list[dict[str, float]] = []
        self.messages: list[str] = []
        self.previews: list[np.ndarray] = []
        self.splats: list[tuple[dict[str, Any], dict[str, np.ndarray]]] = []

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        if stage != "live":
            return
        self.figures.append({"seen": done, **figures})
        self.messages.append(message)
        answer = self._when(self.figures[-1], message) if self._when else None
        if answer == "cancel":
            self.cancelled = True
        elif isinstance(answer, dict):
            self.inbox.put(Frame(answer))

    def preview(self, image: np.ndarray) -> None:
        self.previews.append(image)

    def offer_frame(self, info: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.splats.append((info, arrays))


def live(
    folder: Path, camera: Capture | Callable[[], Capture], listener: Listener | None = None, made: Parts | None = None,
    chosen: Preset | None = None, **settings: Any,
) -> LiveResult:  # fmt: skip
    """A session into ``folder``/a.avatar.npz, its take beside it."""
    source = camera if not hasattr(camera, "read") else lambda: camera
    wanted = LiveSettings(folder / "a.avatar.npz", chosen or preset(), **settings)
    return run_live(source, wanted, listener, made or parts())


def gone(number: int) -> Callable[[int], None]:
    """Trouble: the camera is unplugged at picture ``number``."""

    def pull(now: int) -> None:
        if now == number:
            raise VideoError("The camera Test is not there; plug it in, or choose another source.")

    return pull


def other_size(camera: FakeCamera) -> FakeCamera:
    """The same camera, giving smaller pictures."""
    camera.footage = replace(camera.footage, images=np.ascontiguousarray(camera.footage.images[:, ::2, ::2]))
    return camera
