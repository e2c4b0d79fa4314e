# SPDX-License-Identifier: Apache-2.0
"""What a live session shows while it runs: source, avatar and mesh side by side, to who watches and into a film, and
the avatar's Gaussians for a 3D view. It takes a set share of the session's time, whatever a picture costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from blendsplat.errors import StorageError
from blendsplat.heads.model import HeadModel
from blendsplat.live.figures import Mean
from blendsplat.live.film import Film
from blendsplat.live.learner import Learner
from blendsplat.live.tracker import TrackedFrame
from blendsplat.progress import Progress
from blendsplat.tracking.overlay import OverlayPainter, paint_without_face

PREVIEW_SECONDS, SPLAT_SECONDS = 0.1, 1.0
PREVIEW_SHARE = 0.15  # of the time that a preview may take from the training


class Screen:
    """Of one session. film: an mp4 that is written, or None; note: takes a sentence for the user.

    ``new_psnr`` is the quality of what was shown of frames before they were learned from."""

    def __init__(self, head: HeadModel, progress: Progress, film: Path | None, note: Callable[[str], None]) -> None:
        self._head, self._progress, self._path, self._note = head, progress, film, note
        self._painter: OverlayPainter | None = None
        self._film: Film | None = None
        self._begun = time.monotonic()
        self._picture_due = self._splats_due = 0.0
        self.new_psnr = Mean(0.8)

    def due(self, now: float) -> bool:
        """Whether the next picture may be shown."""
        return now >= self._picture_due

    def show_unlearned(self, learner: Learner, frame: TrackedFrame, now: float) -> None:
        """A tracked frame that was not trained on yet."""
        assert frame.drawn is not None
        begun = time.perf_counter()
        shown, looked, drawn = learner.show(frame), frame.looked, frame.drawn
        if np.isfinite(shown.psnr):
            self.new_psnr(shown.psnr)
        self._painter = self._painter or OverlayPainter(self._head)
        points = None if looked.points is None else looked.points[:, :2]
        mesh = self._painter.paint(
            looked.image, drawn.camera_vertices, drawn.face_ids, points, looked.matte, frame.valid
        )  # fmt: skip
        self._show([looked.image, shown.image, mesh], now, time.perf_counter() - begun)

    def show_source(self, image: np.ndarray, now: float) -> None:
        """A picture [H,W,3] uint8 while the person is not settled."""
        self._show([image] * 3, now)

    def show_without_face(self, image: np.ndarray, now: float) -> None:
        """A picture in which the face is not there."""
        self._show([image, image, paint_without_face(image)], now)

    def offer_splats(self, learner: Learner, frame: TrackedFrame, now: float) -> None:
        """The avatar as it is in a tracked frame, once in a while."""
        if now < self._splats_due:
            return
        assert frame.params is not None
        self._splats_due = now + SPLAT_SECONDS
        arrays = learner.splats(frame.params)
        info = {"splats": len(arrays["position"]), "frame": frame.looked.number, "seconds": frame.looked.seconds}
        self._progress.offer_frame(info, arrays)

    def finish(self) -> Path | None:
        """Complete the film -> where it lies."""
        if self._film is None:
            return None
        try:
            self._film.close()
        except StorageError as error:
            self._note(error.sentence)
            return None
        return self._path

    def _show(self, parts: list[np.ndarray], now: float, cost: float = 0.0) -> None:
        image = np.concatenate(parts, 1)
        self._progress.preview(image)
        self._picture_due = now + max(PREVIEW_SECONDS, cost / PREVIEW_SHARE)
        if self._path is None:
            return
        try:
            if self._film is None:
                self._film = Film(self._path, *image.shape[:2])
            self._film.add(image, now - self._begun)
        except StorageError as error:
            self._note(error.sentence)
            if self._film is not None:
                self._film.abandon()
            self._film = self._path = None
