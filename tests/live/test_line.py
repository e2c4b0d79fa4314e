# SPDX-License-Identifier: Apache-2.0
"""Lines between stages and the figures of a session."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendsplat.live.figures import WINDOW, Mean, Rate
from blendsplat.live.line import Line


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_a_dropping_line_holds_the_newest_and_counts_the_rest(room: int, moves: list[bool]) -> None:
    line: Line[int] = Line(room, dropping=True)
    want: list[int] = []
    dropped = put = 0
    for giving in moves:
        if giving:
            line.put(put)
            want.append(put)
            put += 1
            dropped += max(len(want) - room, 0)
            want = want[-room:]
        else:
            assert line.take(0.0) == (want.pop(0) if want else None)
    assert (len(line), line.dropped) == (len(want), dropped)


def test_a_wider_line_becomes_narrow_again_as_it_is_read() -> None:
    line: Line[int] = Line(2, dropping=True)
    line.widen(10)
    for number in range(10):
        line.put(number)
    taken = []
    for number in range(10, 40):  # as fast as it is filled
        taken.append(line.take(0.0))
        line.put(number)
    assert taken[:3] == [0, 2, 4] and len(line) == 2 and taken[-1] == 37  # caught up to the present
    assert line.dropped == 8 and taken == sorted(taken)


def test_a_line_that_does_not_drop_makes_the_giver_wait() -> None:
    line: Line[int] = Line(1, dropping=False)
    line.put(1)
    giver = threading.Thread(target=line.put, args=(2,))
    giver.start()
    giver.join(0.05)
    assert giver.is_alive() and len(line) == 1
    assert (line.take(0.0), line.take(5.0)) == (1, 2)
    giver.join(5)
    line.put(3)
    blocked = threading.Thread(target=line.put, args=(4,))
    blocked.start()
    line.close()  # who waits is let go, and nothing is kept
    blocked.join(5)
    assert not blocked.is_alive() and line.ended and line.take(0.0) is None


def test_what_waits_at_the_end_can_be_taken() -> None:
    line: Line[int] = Line(3, dropping=True)
    line.put(1)
    line.end()
    assert not line.ended and line.take(1.0) == 1 and line.ended and line.take(1.0) is None


def test_rates_are_of_the_last_seconds() -> None:
    rate, mean = Rate(), Mean(0.5)
    assert rate(0, 0.0) == 0
    assert [rate(10 * now, float(now)) for now in range(1, 20)] == pytest.approx([10.0] * 19)
    assert rate(190 + 100, 19.0 + WINDOW) == pytest.approx(100 / WINDOW, rel=0.3)
    assert mean.value != mean.value
    mean(2.0)
    mean(4.0)
    assert mean.value == 3.0
