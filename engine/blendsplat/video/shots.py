# SPDX-License-Identifier: Apache-2.0
"""Where a clip is cut, and which of its frames only repeat the one before.

A cut is a frame that differs from the one before far more than is usual around it, or a face that jumps. Tracking must
not smooth across a cut, nor a matte be steadied across it. What is usual is asked of frames that move: half of a film
made from 15 pictures a second repeats, and beside no difference at all every movement would be a cut. Black says
nothing either way.
"""

from __future__ import annotations

import cv2
import numpy as np

from blendsplat.landmarks.detector import Landmarks, box_distance

_THUMB = 32  # pixels
_LEAST = 14.0  # mean difference of a cut, in 255ths
_EVERYWHERE, _LEAST_EVERYWHERE = 0.5, 7.0  # share of the pixels from which less is a cut; a quick head changes 0.2
_CHANGED = 12.0  # difference of a pixel that has changed
_OUTLIER = 5.0  # times the usual difference
_JUMP = 0.6  # box_distance between consecutive frames
_AROUND = 12  # moving frames to each side in which a difference is usual
_WINDOW = 4 * _AROUND  # frames among which they are looked for
_REPEAT = 0.1  # of the usual difference: what encoding leaves between two frames that were one
_NOISE = 0.3  # of 255: what encoding leaves at most
_STILL, _MOST = 0.1, 0.9  # of 255: less in this share of all frames is a picture that stands still, encoded
_NEAR, _SEVERAL = 6, 3  # so many repeats within so many frames to each side are a pattern
_BLACK = 20.0  # a thumbnail's brightest value in a frame that shows nothing


class ShotFinder:
    """Feed frames in order: ``is_cut(image)``, then ``jumped(face)``; at the end ask ``starts`` and ``repeats``.

    ``is_cut`` knows only what came before and may take the beginning of a quick movement for a cut.
    """

    def __init__(self) -> None:
        self._thumb: np.ndarray | None = None  # of the last frame that shows something
        self._differences: list[float] = []  # of each frame from the one before; NaN: nothing to compare
        self._cuts: dict[int, bool] = {}  # frame -> whether more than half of it changed
        self._jumps: list[int] = []
        self._was_cut = False
        self._box: np.ndarray | None = None

    @property
    def frames(self) -> int:
        return len(self._differences)

    @property
    def starts(self) -> list[int]:
        """Frames at which shots begin, 0 among them, in the light of what came after as well."""
        cuts = [frame for frame, everywhere in self._cuts.items() if self._stands_out(frame, everywhere)]
        return sorted({0, *cuts, *self._jumps})

    @property
    def still(self) -> bool:
        """All frames are one picture, as of a photograph that was made a video."""
        known = np.array(self._differences)[np.isfinite(self._differences)]
        return len(known) > 0 and float(np.quantile(known, _MOST)) < _STILL

    @property
    def repeats(self) -> list[int]:
        """Frames that show what the one before shows: nothing changed though those next to them move, several of them
        near each other. A person who keeps still for a moment is no repeat, nor is a whole film of one picture."""
        differences = np.nan_to_num(np.array(self._differences), nan=0.0)
        if not len(differences) or self.still:
            return []
        around = np.lib.stride_tricks.sliding_window_view(np.pad(differences, 2), 5).max(1)
        compared = np.isfinite(self._differences)
        found = compared & (differences < np.minimum(_REPEAT * around, _NOISE))
        near = np.lib.stride_tricks.sliding_window_view(np.pad(found.astype(int), _NEAR), 2 * _NEAR + 1).sum(1)
        return np.flatnonzero(found & (near >= _SEVERAL)).tolist()

    def is_cut(self, image: np.ndarray) -> bool:
        """Whether image [H,W,3] uint8 begins another shot, by its colours."""
        thumb = cv2.resize(image, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
        frame, last, self._was_cut = self.frames, self._thumb, False
        if thumb.max() < _BLACK:
            self._differences.append(np.nan)
            return False
        self._thumb = thumb
        if last is None:
            self._differences.append(np.nan)
            return False
        # the mean is taken out: a flash or the camera's exposure is no cut
        changes = np.abs((thumb - thumb.mean((0, 1))) - (last - last.mean((0, 1))))
        everywhere = float((changes.max(-1) > _CHANGED).mean()) > _EVERYWHERE
        self._differences.append(float(changes.mean()))
        if self._differences[frame] <= (_LEAST_EVERYWHERE if everywhere else _LEAST):
            return False
        self._cuts[frame] = everywhere
        self._was_cut = self._stands_out(frame, everywhere)
        return self._was_cut

    def jumped(self, face: Landmarks | None) -> bool:
        """Whether the face is elsewhere than in the frame before, though the colours had shown no cut."""
        last, self._box = self._box, None if face is None else face.box
        if last is None or self._box is None or self._was_cut or box_distance(last, self._box) <= _JUMP:
            return False
        self._jumps.append(self.frames - 1)
        return True

    def _stands_out(self, frame: int, everywhere: bool) -> bool:
        """Whether a frame's difference is one of a cut beside those around it, so far as they are known."""
        known = self._differences
        before = self._moving(np.array(known[max(0, frame - _WINDOW) : frame]))[-_AROUND:]
        after = self._moving(np.array(known[frame + 1 : frame + 1 + _WINDOW]))[:_AROUND]
        around = np.concatenate([before, after])
        usual = float(np.median(around)) if len(around) else 1.0
        return known[frame] > max(_LEAST_EVERYWHERE if everywhere else _LEAST, _OUTLIER * usual)

    def _moving(self, differences: np.ndarray) -> np.ndarray:
        """Those of frames that are no repeats."""
        usual = self._usual(differences)
        return differences[np.isfinite(differences) & (differences >= _REPEAT * usual)]

    @staticmethod
    def _usual(differences: np.ndarray) -> float:
        """The upper quartile: repeats may be half of all, or two thirds (24 a second made from 8)."""
        known = differences[np.isfinite(differences)]
        return float(np.quantile(known, 0.75)) if len(known) else 0.0
