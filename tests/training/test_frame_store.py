# SPDX-License-Identifier: Apache-2.0
"""Frames that lie still in memory: filled at once, growing, as a ring; every byte comes back as it came."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blendsplat.heads.model import HeadParams
from blendsplat.training.frame_store import FrameStore
from tiny_clip import tiny_head, tiny_tracking

SIZE = (3, 5)


def params(count: int) -> HeadParams:
    return tiny_tracking(tiny_head(), count).params()


def planes(numbers: list[int]) -> torch.Tensor:
    """[M,3,5,5]: random bytes that the number decides."""
    made = [np.random.default_rng(number).integers(0, 256, (*SIZE, 5), np.uint8) for number in numbers]
    return torch.from_numpy(np.stack(made))


@settings(deadline=None)
@given(st.integers(1, 7), st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_the_newest_frames_are_there_whole(capacity: int, arrivals: list[int]) -> None:
    every, store = params(64), FrameStore(capacity, *SIZE, params(1))
    addresses = [t.data_ptr() for t in (store.premultiplied, store.alpha, store.valid, store.params.expression)]
    heard: list[int] = []
    store.subscribe(heard.extend)
    came = 0
    for count in arrivals:
        numbers = list(range(came, came + min(count, capacity)))
        store.add(numbers, planes(numbers), every[numbers])
        came += len(numbers)
    newest = list(range(max(0, came - capacity), came))
    assert sorted(store.numbers) == newest and store.arrived == len(heard) == came
    rows = [store.numbers.index(number) for number in newest]
    assert rows == [number % capacity for number in newest]
    batch = store.batch(rows)
    torch.testing.assert_close(batch.premultiplied, planes(newest)[..., :3].float() / 255, rtol=0, atol=0)
    torch.testing.assert_close(batch.alpha[..., 0], planes(newest)[..., 3].float() / 255, rtol=0, atol=0)
    torch.testing.assert_close(batch.valid[..., 0], planes(newest)[..., 4].float() / 255, rtol=0, atol=0)
    for name in ("expression", "neck_pose", "translation"):
        assert torch.equal(getattr(store.params[rows], name), getattr(every[newest], name))
    sums = planes(newest)[..., 4].sum((1, 2)).double() * 3 / 255
    torch.testing.assert_close(store.targets.weight_sums[rows].double(), sums, rtol=1e-6, atol=1e-6)
    assert addresses == [t.data_ptr() for t in (store.premultiplied, store.alpha, store.valid, store.params.expression)]


def test_a_row_that_is_filled_anew_counts_as_a_usual_frame() -> None:
    store = FrameStore(2, *SIZE, params(1))
    store.add([0, 1], planes([0, 1]), params(2))
    plain = store.targets.weight_sums.clone()
    store.weigh(torch.tensor([0.5, 0.0]))
    assert store.batch([1, 0]).weights.tolist() == pytest.approx([1e-3, 0.5]), "no weight is zero"
    torch.testing.assert_close(store.targets.weight_sums[0], 2 * plain[0])
    torch.testing.assert_close(store.to("cpu").targets.weight_sums, store.targets.weight_sums)
    store.add([0], planes([0]), params(1))
    assert store.batch([0, 1]).weights.tolist() == pytest.approx([1.0, 1e-3])
    assert torch.equal(store.targets.weight_sums[0], plain[0])


def test_who_comes_late_hears_of_what_is_there() -> None:
    store, heard = FrameStore(4, *SIZE, params(1)), []
    store.add([7, 8], planes([7, 8]), params(2))
    store.subscribe(heard.append)
    store.add([9], planes([9]), params(1))
    assert heard == [[0, 1], [2]]


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    store = FrameStore(2, *SIZE, params(1))
    with pytest.raises(ValueError, match="3 frames at once"):
        store.add([0, 1, 2], planes([0, 1, 2]), params(3))
    with pytest.raises(ValueError, match="planes"):
        store.add([0], planes([0])[:, :2], params(1))
    with pytest.raises(ValueError, match="uint8"):
        store.add([0], planes([0]).float(), params(1))
    with pytest.raises(ValueError, match=r"expected expression \[2, 3\], got \[3, 3\]"):
        store.add([0, 1], planes([0, 1]), params(3))
    with pytest.raises(ValueError, match=r"expected expression \[1, 3\], got \[1, 5\]"):
        store.add([0], planes([0]), tiny_tracking(tiny_head(expressions=5), 1).params())
    assert len(store) == store.arrived == 0 and not store.premultiplied.any()


def test_a_store_can_follow_anothers_rows() -> None:
    """Whenever it began to: here after the ring has gone round."""
    every, leader = params(9), FrameStore(3, *SIZE, params(1))
    for number in range(5):
        leader.add([number], planes([number]), every[[number]])
    follower = FrameStore(3, *SIZE, params(1))

    def follow(rows: list[int]) -> None:
        numbers = [leader.numbers[row] for row in rows]
        follower.place(rows[::-1], numbers[::-1], planes(numbers[::-1]), every[numbers[::-1]])

    leader.subscribe(follow)
    for number in range(5, 9):
        leader.add([number], planes([number]), every[[number]])
    assert follower.numbers == leader.numbers == [6, 7, 8]
    for name in ("premultiplied", "alpha", "valid"):
        assert torch.equal(getattr(follower, name), getattr(leader, name))
    assert torch.equal(follower.params.expression, leader.params.expression)
    assert torch.equal(follower.targets.weight_sums, leader.targets.weight_sums)


@pytest.mark.parametrize(
    ("rows", "match"),
    [([2], "next free one is 1"), ([-1], "expected 1 of 2"), ([0, 1], "expected 1 of 2"), ([], "expected 1 of 2"),
     ([7], "next free one is 1")],
)  # fmt: skip
def test_rows_that_would_leave_a_gap_are_refused(rows: list[int], match: str) -> None:
    store = FrameStore(2, *SIZE, params(1))
    store.add([4], planes([4]), params(1))
    with pytest.raises(ValueError, match=rf"rows: .*{match}"):
        store.place(rows, [5], planes([5]), params(1))
    store.add([6], planes([6]), params(1))
    with pytest.raises(ValueError, match="rows: expected 1 of 2"):
        store.place([2], [5], planes([5]), params(1))
    assert store.numbers == [4, 6]


def test_a_part_is_a_copy_of_some_frames() -> None:
    every, store = params(4), FrameStore(4, *SIZE, params(1))
    store.add([5, 6, 7, 8], planes([5, 6, 7, 8]), every)
    store.weigh(torch.tensor([0.5, 1, 1.5, 1]))
    part = store.part([2, 0])
    assert part.numbers == [7, 5] and part.capacity == part.arrived == 2
    torch.testing.assert_close(part.batch([0, 1]).premultiplied, store.batch([2, 0]).premultiplied)
    assert part.batch([0, 1]).weights.tolist() == [1.5, 0.5]
    assert torch.equal(part.params.expression, every.expression[[2, 0]])
    part.add([9], planes([9]), every[[1]])
    assert store.numbers == [5, 6, 7, 8] and torch.equal(store.params.expression, every.expression)


def test_no_frames_are_no_news() -> None:
    store, heard = FrameStore(2, *SIZE, params(1)), []
    store.subscribe(heard.append)
    assert store.add([], torch.zeros(0, *SIZE, 5, dtype=torch.uint8), params(1)) == [] and not heard
