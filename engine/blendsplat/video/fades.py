# SPDX-License-Identifier: Apache-2.0
"""Where a clip fades: from or to black, white or any one colour, and from one shot into the next.

Between a picture and one colour the contrast rises or falls without a pause. Between two shots every picture is a
mixture of the two, one share for all of its pixels; what moves is no such mixture. Neither shows the person's colours.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

_THUMB = 32  # pixels
_FLAT, _PICTURE = 2.0, 8.0  # contrast (of 255) of one colour with noise, and of what shows something
_GROWTH, _WITHIN = 1.02, 3  # a fade's contrast grows by so much within so many frames
_WHOLE = 0.97  # of the contrast that a fade ends at: more is a picture as it was filmed
_BEGUN = 0.7  # of the contrast later: a clip that begins or ends with less may be in the middle of a fade
_LONGEST = 150  # frames of a fade to one colour
_FEWEST = 2  # frames of it between the colour and the picture
_LENGTHS = (4, 6, 9, 13, 18, 25, 36, 50)  # frames from one shot's last picture to the next one's first, as looked for
_CHANGE, _CHANGE_EVERYWHERE, _EVERYWHERE, _CHANGED = 14.0, 7.0, 0.5, 12.0  # between two shots: as shots.py says of cuts
_MISSED = 0.3  # of the change: what a mixture leaves unexplained at most, as people go on moving in it
_STEP = 0.45  # of the change in one frame at most: more is a cut
_AT_REST = 0.35  # of the change, within half a length before and after: more is a camera that moves on
_ALIKE = 0.8  # correlation of two pictures that differ by their light alone
_CORE = 0.2  # a mixture's shares from here to 1 - this tell when it begins and ends: nearer to 0 and 1 people move more
_SHIFTS = range(-3, 4)  # pixels of a thumbnail by which a camera may have turned


@dataclass(frozen=True)
class _Mixture:
    """One shot fading into the next: frames with something of both, the first that has more of the second, and how much
    the shots differ."""

    frames: list[int]
    middle: int
    change: float


class FadeFinder:
    """Feed every frame's picture in order, then ask ``faded``, ``mixed`` and ``starts`` after ``finish``."""

    def __init__(self) -> None:
        self._contrasts: list[float] = []
        self._first: list[np.ndarray] = []  # the clip's first thumbnails
        self._last: deque[np.ndarray] = deque(maxlen=2 * _LENGTHS[-1] + 1)
        self._mixtures: list[_Mixture] = []
        self.faded: list[int] = []  # all frames in a fade, rising
        self.mixed: list[int] = []  # those of them that show two shots at once
        self.starts: list[int] = []  # frames at which a shot begins in the middle of a fade

    def see(self, image: np.ndarray) -> None:
        """The next picture [H,W,3] uint8."""
        thumb = cv2.resize(image, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
        thumb -= thumb.mean((0, 1))
        self._contrasts.append(float(thumb.std()))
        self._last.append(thumb)
        if len(self._first) < _LONGEST:
            self._first.append(thumb)
        for length in _LENGTHS:
            self._look(length, len(self._contrasts) - 1 - length // 2)

    def finish(self) -> None:
        """Every picture was seen."""
        count = len(self._contrasts)
        for length in _LENGTHS:
            for end in range(count - length // 2, count):
                self._look(length, end)
        plain, starts = self._to_one_colour()
        mixtures = _joined([one for one in self._mixtures if not plain & set(one.frames)])
        self.mixed = sorted({frame for one in mixtures for frame in one.frames})
        self.faded = sorted(plain | set(self.mixed))
        self.starts = sorted(starts | {one.middle for one in mixtures})

    def _to_one_colour(self) -> tuple[set[int], set[int]]:
        """(frames that fade from or to one colour, with those that show nothing else; frames at which one shot has
        faded out and the next fades in)."""
        contrasts = np.array(self._contrasts)
        count = len(contrasts)
        faded: set[int] = set()
        starts: set[int] = set()
        for first, end in _runs(contrasts < _FLAT):
            before = [first - step for step in _rising(contrasts[:first][::-1], float(contrasts[first]))]
            after = [end - 1 + step for step in _rising(contrasts[end:], float(contrasts[end - 1]))]
            if before or after:
                faded |= {*before, *range(first, end), *after}
            if before and after:
                starts.add((first + end) // 2)
        if count and contrasts[0] >= _FLAT:
            faded |= set(self._begun(contrasts, self._first))
        if count and contrasts[-1] >= _FLAT:
            faded |= {count - 1 - step for step in self._begun(contrasts[::-1], list(self._last)[::-1])}
        return faded, starts

    @staticmethod
    def _begun(contrasts: np.ndarray, thumbs: list[np.ndarray]) -> list[int]:
        """The first of these frames, where they are the rest of a fade: the same picture with growing contrast."""
        steps = [0, *(step for step in _rising(contrasts[1:], float(contrasts[0])))]
        end = steps[-1] + 1
        if len(steps) <= _FEWEST or end >= len(thumbs) or contrasts[0] > _BEGUN * contrasts[end]:
            return []
        return steps if _correlation(thumbs[0], thumbs[end]) > _ALIKE else []

    def _look(self, length: int, end: int) -> None:
        """Note whether the frames between end - length and end are mixtures of these two."""
        begin, newest = end - length, len(self._contrasts) - 1
        oldest = newest - len(self._last) + 1
        if begin < oldest or end < begin:
            return
        if min(self._contrasts[begin : end + 1]) < 2 * _FLAT:
            return
        one, other = self._last[begin - oldest], self._last[end - oldest]
        change = np.abs(other - one)
        everywhere = float((change.max(-1) > _CHANGED).mean()) > _EVERYWHERE
        if change.mean() < (_CHANGE_EVERYWHERE if everywhere else _CHANGE):
            return
        shots = np.stack([self._last[frame - oldest] for frame in range(begin, end + 1)]).reshape(length + 1, -1)
        way = shots[-1] - shots[0]
        size = float(np.linalg.norm(way))
        shares = (shots - shots[0]) @ way / size**2
        missed = np.linalg.norm(shots - shots[0] - shares[:, None] * way, axis=1).max() / size
        steps = np.diff(shares)
        if missed > _MISSED or steps.min() < -0.05 or steps.max() > _STEP:
            return
        for near, far in ((begin, max(begin - length // 2, oldest)), (end, min(end + length // 2, newest))):
            if np.linalg.norm(self._last[far - oldest] - self._last[near - oldest]) > _AT_REST * size:
                return
        if _same_place(one, other):
            return
        frames = [begin + at for at in _between(shares)]
        if len(frames) >= _FEWEST:
            self._mixtures.append(_Mixture(frames, begin + int(np.argmax(shares > 0.5)), size))


def _rising(contrasts: np.ndarray, start: float) -> list[int]:
    """Of frames behind one whose contrast is ``start``, counted from 1: those whose contrast grows until it stays; none
    where it is there at once, or where it grows to nothing."""
    values = np.array([start, *contrasts[:_LONGEST]])
    end = 0
    while values[end + 1 : end + 1 + _WITHIN].max(initial=0.0) > max(_GROWTH * values[end], _FLAT / 2):
        end += 1
    steps = [step for step in range(1, end) if values[step] < _WHOLE * values[end]]
    return steps if len(steps) >= _FEWEST and values[end] > _PICTURE else []


def _between(shares: np.ndarray) -> list[int]:
    """Which of the frames whose share of the second shot grows from 0 to 1 have something of both."""
    low, high = int(np.argmax(shares >= _CORE)), int(np.flatnonzero(shares <= 1 - _CORE)[-1])
    before = low - (shares[low] - _CORE) / (shares[low] - shares[low - 1])
    after = high + (1 - _CORE - shares[high]) / (shares[high + 1] - shares[high])
    reach = _CORE / (1 - 2 * _CORE) * (after - before)
    first, last = max(before - reach, 0.0), min(after + reach, len(shares) - 1.0)
    return list(range(int(first + 0.1) + 1, int(np.ceil(last - 0.1))))


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(first, end) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def _same_place(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures differ by their light, or by where the camera looks, alone."""
    inner = slice(_SHIFTS.stop, _THUMB - _SHIFTS.stop)
    middle = other[inner, inner]
    return any(
        _correlation(np.roll(one, (down, right), (0, 1))[inner, inner], middle) > _ALIKE
        for down in _SHIFTS for right in _SHIFTS
    )  # fmt: skip


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean((0, 1)), other - other.mean((0, 1))
    return float((one * other).sum() / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-6))


def _joined(mixtures: list[_Mixture]) -> list[_Mixture]:
    """Of those that share frames the one whose two pictures differ most."""
    joined: list[_Mixture] = []
    for one in sorted(mixtures, key=lambda item: item.frames[0]):
        if joined and one.frames[0] <= joined[-1].frames[-1]:
            joined.append(max(joined.pop(), one, key=lambda item: item.change))
        else:
            joined.append(one)
    return joined
