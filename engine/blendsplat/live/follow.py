# SPDX-License-Identifier: Apache-2.0
"""Which of the faces in a picture is the one that the session learns, from where each was before.

Landmarks hardly tell two people apart (another person's fit the head as well to a third), but places do: whoever was
seen beside the followed face is somebody else, and stays so when that one leaves. Who turns up where nobody was, while
it is away, is taken for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blendsplat.landmarks.detector import box_distance, box_size

NEAR = 1.0  # box_distance within which a face is where it was in the picture before
REMEMBERED = 2.0  # seconds for which somebody else is known though no longer seen


AWAY = 0.5  # by how much nearer a face must be to where the followed one was, once that has been out of sight


@dataclass
class _Seen:
    """Somebody's face: where and when it was seen last."""

    box: np.ndarray
    seconds: float


class Follower:
    """Feed the boxes [4] of every picture in order."""

    def __init__(self) -> None:
        self._own: _Seen | None = None
        self._others: list[_Seen] = []
        self._here = False  # was it in the picture before

    def __call__(self, boxes: list[np.ndarray], seconds: float) -> int | None:
        """Which of ``boxes`` is followed; None when it is not among them."""
        self._others = [other for other in self._others if seconds - other.seconds <= REMEMBERED]
        known = self._known(boxes)
        strangers = [number for number in range(len(boxes)) if number not in known]
        chosen = next((number for number, who in known.items() if who is self._own), None)
        if chosen is None:
            chosen = max(strangers, key=lambda number: box_size(boxes[number]), default=None)
        for number, box in enumerate(boxes):
            who = known.get(number)
            if number == chosen:
                self._own = _Seen(box, seconds)
            elif who is not None:
                who.box, who.seconds = box, seconds
            else:
                self._others.append(_Seen(box, seconds))
        self._here = chosen is not None
        return chosen

    def _known(self, boxes: list[np.ndarray]) -> dict[int, _Seen]:
        """Which boxes are whose: the nearest pairs first, each once."""
        people = [*self._others, *([self._own] if self._own is not None else [])]
        pairs = []
        for number, box in enumerate(boxes):
            for person, who in enumerate(people):
                distance = box_distance(box, who.box)
                if distance < NEAR:
                    handicap = AWAY if who is self._own and not self._here else 0.0
                    pairs.append((distance + handicap, number, person))
        known: dict[int, _Seen] = {}
        taken: set[int] = set()
        for _, number, person in sorted(pairs):
            if number not in known and person not in taken:
                known[number] = people[person]
                taken.add(person)
        return known
