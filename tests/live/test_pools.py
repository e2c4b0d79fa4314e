# SPDX-License-Identifier: Apache-2.0
"""What a live training keeps of its frames, and that every switch of the pools does what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blendsplat.live.pools import FramePools
from blendsplat.training.presets import Preset
from live_source import preset
from tiny_clip import tiny_head, tiny_tracking


def filled(chosen: Preset, count: int) -> FramePools:
    """Pools that have been shown ``count`` frames, each of which says its number in its pixels and its parameters."""
    params = tiny_tracking(tiny_head(), 2).params()[[0]]
    pools = FramePools(chosen, 2, 2, params)
    for number in range(count):
        planes = torch.full((1, 2, 2, 5), number % 251, dtype=torch.uint8)
        params.translation = torch.full((1, 3), float(number))
        pools.admit(number, planes, params)
    return pools


@pytest.mark.parametrize("count", [1, 7, 8, 12, 13, 60])
def test_it_holds_the_pools_frames_and_no_more(count: int) -> None:
    pools = filled(preset(online_local_pool=7, online_global_pool=5), count)
    store, sampler = pools.store, pools.sampler
    assert store.capacity == 13 and len(store) == min(count, 13)
    assert [store.numbers[row] for row in sampler.local] == list(range(max(count - 7, 0), count))
    assert len(sampler.long_term) == min(max(count - 7, 0), 5) and not {*sampler.local} & {*sampler.long_term}
    for row in (*sampler.local, *sampler.long_term):  # nothing was overwritten that is still wanted
        assert int(store.alpha[row, 0, 0]) == store.numbers[row] % 251
        assert float(store.params.translation[row, 0]) == store.numbers[row]


def test_the_global_pool_is_a_fair_sample_of_what_is_gone() -> None:
    counts = np.zeros(16)
    for seed in range(100):
        pools = filled(preset(online_local_pool=4, online_global_pool=6, seed=seed), 16)
        counts[[pools.store.numbers[row] for row in pools.sampler.long_term]] += 1
    assert counts[:12].sum() == 6 * 100 and not counts[12:].any()
    assert np.abs(counts[:12] - 50).max() < 4 * np.sqrt(25)


def test_the_switches_of_the_papers_table() -> None:
    """Without global, without local, sizes, share and ramp: what batches then show."""

    def shown(**changes: float) -> set[int]:
        pools = filled(preset(**{"online_local_pool": 10, "online_global_pool": 20} | changes), 60)
        return {pools.store.numbers[row] for _ in range(200) for row in pools.sampler.next_batch(4)}

    recent = set(range(50, 60))
    assert shown(online_global_share=0.0) == recent
    assert shown(online_global_pool=0) == recent
    assert shown(online_local_pool=3, online_global_share=0.0) == {57, 58, 59}
    assert not shown(online_global_share=1.0, online_ramp=1) & recent
    assert not shown(online_local_pool=1, online_global_share=1.0, online_ramp=1) & {59}
    assert len(shown(online_ramp=1, online_global_pool=5) - recent) == 5
    pools = filled(preset(online_local_pool=10, online_global_pool=20, online_global_share=0.4, online_ramp=100), 60)
    rows = [row for _ in range(2000) for row in pools.sampler.next_batch(4)]
    share = np.isin(rows, pools.sampler.long_term).mean()
    assert share == pytest.approx(0.4 * 0.5, abs=0.02)
