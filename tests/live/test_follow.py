# SPDX-License-Identifier: Apache-2.0
"""The first person is followed, whoever else comes, and found again when back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blendsplat.live.follow import Follower

STEP = 0.04


def box(x: float, y: float = 100.0, size: float = 80.0) -> np.ndarray:
    return np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2])


def followed(pictures: list[list[np.ndarray]]) -> list[int | None]:
    follower = Follower()
    return [follower(boxes, STEP * number) for number, boxes in enumerate(pictures)]


def test_a_second_and_larger_face_changes_nothing() -> None:
    """Nor does the order in which a detector gives them."""
    me, other = box(100), box(330, size=150)
    assert followed([[me], [other, me], [me, other], [box(110), other]]) == [0, 1, 0, 0]


def test_somebody_else_is_not_taken_while_the_first_is_away() -> None:
    me, other = box(100), box(330)
    moving = [box(330 - 20 * step) for step in range(1, 12)]  # until where the first had been
    pictures = [[me], [me, other], [other], *[[one] for one in moving], [moving[-1], box(300)]]
    assert followed(pictures) == [0, 0, None, *[None] * len(moving), 1]


def test_back_anywhere_it_is_followed_at_once() -> None:
    """After a short or a long absence, near or far, alone or beside somebody known."""
    me, other = box(100), box(330)
    assert followed([[me], [], [], [box(400)], [box(410)]]) == [0, None, None, 0, 0]
    assert followed([[me]] + [[]] * 100 + [[box(60, size=60)]]) == [0] + [None] * 100 + [0]
    assert followed([[me, other], [other], [other, box(90, 300)]]) == [0, None, 1]


def test_somebody_long_gone_is_forgotten() -> None:
    me, other = box(100), box(330)
    assert followed([[me, other]] + [[]] * 60 + [[other]]) == [0] + [None] * 60 + [0]


@given(st.lists(st.lists(st.tuples(st.floats(-9, 900), st.floats(1, 300)), max_size=4), max_size=30))
def test_it_names_a_face_that_is_there(pictures: list[list[tuple[float, float]]]) -> None:
    boxes = [[box(x, size=size) for x, size in faces] for faces in pictures]
    for number, faces in zip(followed(boxes), boxes, strict=True):
        assert number is None or 0 <= number < len(faces)
