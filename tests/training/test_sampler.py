# SPDX-License-Identifier: Apache-2.0
"""Samplers: epochs are fair, the reservoir is uniform, the newest local frames come most, states restore exactly."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest

from blendsplat.training.sampler import OfflineSampler, OnlineSampler


def test_offline_shows_every_frame_once_per_epoch_whatever_the_batch() -> None:
    sampler = OfflineSampler(range(7), seed=3)
    drawn = [frame for _ in range(7) for frame in sampler.next_batch(3)]
    for epoch in range(3):
        assert sorted(drawn[7 * epoch : 7 * epoch + 7]) == list(range(7))
    assert drawn[:7] != drawn[7:14]


def _stream(sampler: OnlineSampler, frames: range) -> None:
    for frame in frames:
        sampler.observe(frame)


@pytest.mark.parametrize("kind", ["offline", "online"])
def test_a_restored_sampler_draws_what_the_first_would_have(kind: str) -> None:
    def make():
        return OfflineSampler(range(20), 5) if kind == "offline" else OnlineSampler(5, 6, 8, 0.7)

    first = make()
    _stream(first, range(40)) if kind == "online" else None
    first.next_batch(7)
    state = json.loads(json.dumps(first.state()))
    second = make()
    second.restore(state)
    for sampler in (first, second):
        sampler.observe(99)
    assert [first.next_batch(5) for _ in range(6)] == [second.next_batch(5) for _ in range(6)]


def test_online_keeps_the_newest_in_the_local_pool() -> None:
    sampler = OnlineSampler(0)
    _stream(sampler, range(200))
    assert sampler.local == list(range(50, 200)) and sampler.long_term == list(range(50))
    assert sampler.state()["seen"] == 200


def test_reservoir_keeps_every_frame_with_the_same_probability() -> None:
    """400 streams of 60 frames, 2 local, reservoir of 10: each of the 58 frames that left is kept 10 times in 58."""
    counts: Counter[int] = Counter()
    for seed in range(400):
        sampler = OnlineSampler(seed, local_size=2, global_size=10)
        _stream(sampler, range(60))
        assert len(set(sampler.long_term)) == 10
        counts.update(sampler.long_term)
    expected, spread = 400 * 10 / 58, math.sqrt(400 * (10 / 58) * (48 / 58))
    assert set(counts) <= set(range(58))
    for early, late in ((range(0, 19), range(39, 58)),):
        for part in (early, late):
            mean = sum(counts[frame] for frame in part) / len(part)
            assert abs(mean - expected) < 4 * spread / math.sqrt(len(part))


def test_local_draws_prefer_the_newest_by_e_and_never_repeat_in_a_batch() -> None:
    sampler = OnlineSampler(1, local_size=50)
    _stream(sampler, range(50))
    counts: Counter[int] = Counter()
    for _ in range(3000):
        batch = sampler.next_batch(5)
        assert len(set(batch)) == 5
        counts.update(batch)
    ratio = sum(counts[frame] for frame in range(40, 50)) / sum(counts[frame] for frame in range(10))
    assert abs(ratio - math.exp(0.8)) < 0.35


def test_share_of_the_global_pool_rises_to_its_limit() -> None:
    sampler = OnlineSampler(2, local_size=10, global_size=1000, global_share=0.7)
    _stream(sampler, range(10 + 300))
    old = sum(frame < 300 for _ in range(400) for frame in sampler.next_batch(10)) / 4000
    assert abs(old - 0.7 * 300 / 599) < 0.03
    _stream(sampler, range(310, 1500))
    old = sum(frame < 1490 for _ in range(400) for frame in sampler.next_batch(10)) / 4000
    assert abs(old - 0.7) < 0.03
