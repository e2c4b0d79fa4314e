# SPDX-License-Identifier: Apache-2.0
"""When callbacks run, and that an interrupted schedule repeats nothing and leaves nothing out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendsplat.training.callbacks import Callback, Schedule


def ran(callback: dict, batches: list[int], cut: int | None = None) -> list[int]:
    """Images at which a callback ran over batches of these sizes; ``cut``: go on with a new Schedule after so many."""
    seen: list[int] = []

    def schedule() -> Schedule:
        return Schedule([Callback("it", lambda: seen.append(images), **callback)])

    images, running = 0, schedule()
    for place, batch in enumerate(batches):
        if place == cut:
            state, running = running.state(), schedule()
            running.restore(state)
        running.run(images)
        images += batch
    return seen


@pytest.mark.parametrize(
    ("callback", "batches", "at"),
    [
        ({}, [4] * 5, [0]),
        ({"start": 6}, [4] * 5, [8]),
        ({"every": 1}, [4] * 3, [0, 4, 8]),
        ({"every": 10}, [4] * 8, [0, 12, 20]),
        ({"start": 5, "end": 17, "every": 6}, [4] * 8, [8, 12]),
        ({"start": 2, "every": 3}, [10] * 4, [10, 20, 30]),
    ],
)
def test_start_end_and_stride(callback: dict, batches: list[int], at: list[int]) -> None:
    assert ran(callback, batches) == at


strides = st.fixed_dictionaries({
    "start": st.integers(0, 30), "end": st.none() | st.integers(0, 60), "every": st.none() | st.integers(1, 20),
})  # fmt: skip


@given(strides, st.lists(st.integers(1, 9), min_size=2, max_size=15), st.data())
def test_interrupted_anywhere_it_runs_at_the_same_images(callback: dict, batches: list[int], data) -> None:
    cut = data.draw(st.integers(0, len(batches) - 1))
    assert ran(callback, batches, cut) == ran(callback, batches)


def test_names_differ() -> None:
    with pytest.raises(ValueError, match="names"):
        Schedule([Callback("a", print), Callback("a", print)])


def test_a_stride_is_at_least_one_image() -> None:
    with pytest.raises(ValueError, match="'it' needs a stride"):
        Callback("it", lambda: None, every=0)
