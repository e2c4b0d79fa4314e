# SPDX-License-Identifier: Apache-2.0
"""The stages that run beside the training, each in a thread of its own: capture, look, track, record.

Between two of them lies a bounded line. Frames of a source that does not wait are lost at the first one and nowhere
else: behind it a stage that is slower makes those before it wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from blendsplat.errors import BlendsplatError, StorageError, VideoError
from blendsplat.fitting.fit_options import FitOptions
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.live.capture import Capture, Picture
from blendsplat.live.framing import Framing
from blendsplat.live.line import Line
from blendsplat.live.look import Look, Looked
from blendsplat.live.settling import Settling, settle
from blendsplat.live.take import Take
from blendsplat.live.tracker import LiveTracker, TrackedFrame
from blendsplat.video.clip import ClipInfo
from blendsplat.video.crop import Crop, cropper

log = logging.getLogger(__name__)

ROOM = 4  # pictures that wait before a stage,
BACKLOG = 240  # and while the person is being settled (small pictures)
PATIENCE = 30.0  # seconds in which a camera that vanished is looked for
RETRY_SECONDS = 1.0
STALL_SECONDS = 2.0  # without a picture after which a source that plays by itself counts as stalled
_WAIT = 0.1

Numbered = tuple[int, Picture]  # with its number among all pictures of the source


@dataclass
class Shared:
    """What the stages and the session tell each other; each field is written by one of them."""

    seen: int = 0  # pictures that the source gave
    unused: int = 0  # of them looked at before the square was known
    last_picture: float = field(default_factory=time.monotonic)
    tracked: int = 0
    newest: Looked | None = None
    person: Performance | None = None
    first: list[TrackedFrame] = field(default_factory=list)
    tracker: LiveTracker | None = None
    take: Take | None = None
    recorded: int = 0
    notes: list[str] = field(default_factory=list)
    state: str = ""  # what the stages have to say now
    failure: BaseException | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    paused: threading.Event = field(default_factory=threading.Event)

    def note(self, sentence: str) -> None:
        """Tell the user at the end; once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


class Stage(threading.Thread):
    """Runs ``work`` in a thread; what it raises ends the session."""

    def __init__(self, name: str, work: Callable[[], None], shared: Shared) -> None:
        super().__init__(name=f"live {name}", daemon=True)
        self._work, self._shared = work, shared

    def run(self) -> None:
        torch.set_num_threads(1)  # one frame's operations are small, and the training wants the other processors
        try:
            self._work()
        except BaseException as error:  # handed over to the session, whatever it is
            if self._shared.failure is None:
                self._shared.failure = error
            self._shared.stop.set()


def capture_pictures(
    opened: Capture, again: Callable[[], Capture], line: Line[Numbered], shared: Shared, seconds: float | None
) -> None:  # fmt: skip
    """Read the source until it ends, ``seconds`` of it have passed, or the session stops; one that vanishes is opened
    ``again`` for a while."""
    capture: Capture | None = opened
    size: tuple[int, ...] | None = None
    offset = last = 0.0
    try:
        while capture is not None and not shared.stop.is_set():
            if shared.paused.is_set() and not capture.live:
                time.sleep(_WAIT)
                continue
            try:
                picture = capture.read()
            except VideoError as error:
                capture = _reopened(capture, again, shared, error)
                offset = last + RETRY_SECONDS
                continue
            if picture is None:
                break
            shared.last_picture, shared.state = time.monotonic(), ""
            if size is not None and picture.image.shape != size:
                shared.note(f"{capture.name} changed the size of its pictures; the session ended there.")
                break
            size = picture.image.shape
            last = offset + picture.seconds
            if seconds is not None and last >= seconds:
                break
            if not shared.paused.is_set():
                line.put((shared.seen, Picture(picture.image, last, picture.again)))
                shared.seen += 1
    finally:
        line.end()
        if capture is not None:
            capture.close()


def _reopened(lost: Capture, again: Callable[[], Capture], shared: Shared, error: VideoError) -> Capture | None:
    """The source anew, looked for as long as there is patience; None when it does not come back."""
    lost.close()
    if not lost.live or not shared.seen:
        raise error
    log.warning("%s: %s", lost.name, error.detail or error.sentence)
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends and not shared.stop.wait(RETRY_SECONDS):
        shared.state = f"{lost.name} is gone; waiting for it."
        try:
            return again()
        except BlendsplatError:
            continue
    if not shared.stop.is_set():
        shared.note(f"{lost.name} was lost after {shared.seen} frames and did not come back.")
    return None


def look_at_pictures(
    pictures: Line[Numbered], framing: Framing, look: Look, framed: Callable[[Crop, Picture], None],
    line: Line[Looked], shared: Shared, size: int, mirror: bool,
) -> None:  # fmt: skip
    """Find the square (``framed`` is told), then cut every picture to size x size and look at it."""
    cut: Callable[[np.ndarray], np.ndarray] | None = None
    try:
        while not pictures.ended:
            item = pictures.take(_WAIT)
            if item is None:
                continue
            number, picture = item
            if mirror:
                picture = Picture(np.ascontiguousarray(picture.image[:, ::-1]), picture.seconds, picture.again)
            if cut is None:
                crop = framing(picture)
                shared.unused += 1
                if crop is not None:
                    framed(crop, picture)
                    cut = cropper(crop, size)
                    shared.notes.extend(framing.notes)
                continue
            image = cut(picture.image)
            matte, points = look(number, image, picture.seconds)
            looked = Looked(number, picture.seconds, image, matte, points, picture.again)
            shared.newest = looked
            line.put(looked)
    finally:
        pictures.close()
        line.end()
        framing.close()
        look.close()


def track_frames(
    looked: Line[Looked], head: HeadModel, head_source: str, info: Callable[[], ClipInfo], line: Line[TrackedFrame],
    shared: Shared, backlog: bool, options: FitOptions | None = None,
) -> None:  # fmt: skip
    """Settle the person, then track every picture. backlog: let pictures wait meanwhile, as they come anyhow."""
    settling = Settling()
    try:
        while not looked.ended and not settling.ready:
            item = looked.take(_WAIT)
            if item is not None:
                settling.add(item)
        if not settling.frames:
            return
        if backlog:
            looked.widen(BACKLOG)
        person = settle(head, head_source, settling.frames, info(), options)
        tracker = LiveTracker(head, person, settling.frames)
        shared.first = tracker.first(settling.frames)
        shared.tracked += len(shared.first)
        shared.tracker, shared.person = tracker, person  # the session waits for the last of these
        for frame in shared.first:
            line.put(frame)
        while not looked.ended:
            item = looked.take(_WAIT)
            if item is None:
                continue
            line.put(tracker(item))
            shared.tracked += 1
    finally:
        looked.close()
        line.end()


def record_frames(line: Line[TrackedFrame], shared: Shared, directory: Path, info: ClipInfo, detector: str) -> None:
    """Write the take. A disk that refuses ends the recording, not the session."""
    try:
        while not line.ended:
            frame = line.take(_WAIT)
            if frame is None or frame.looked.again:
                continue
            if shared.take is None:
                assert shared.person is not None
                shared.take = Take(directory, shared.person, info, detector)
            shared.take.add(frame)
            shared.recorded += 1
    except StorageError as error:
        shared.note(f"Recording the take ended after {shared.recorded} frames. {error.sentence}")
    finally:
        line.close()
