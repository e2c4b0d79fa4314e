# SPDX-License-Identifier: Apache-2.0
"""The attention kernel against double precision, per instruction set: odd sizes, strides, extreme scores, threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from blendsplat.splatting.backend import cpu_backend
from blendsplat.tracking.kaolrm.encoder import attend
from blendsplat.tracking.kaolrm.ops import Ops


@pytest.fixture(params=["avx512", "avx2", "generic"])
def ops(request: pytest.FixtureRequest) -> Iterator[Ops]:
    kernels: Any = cpu_backend().kernels
    before = kernels.instruction_set()
    if not kernels.use_instruction_set(request.param):
        pytest.skip(f"no {request.param} here")
    yield Ops(False, torch.float32, kernels)
    kernels.use_instruction_set(before)


def random(*size: int, spread: float = 1.0) -> Tensor:
    return spread * torch.randn(*size, generator=torch.Generator().manual_seed(sum(size)))


def assert_right(have: Tensor, q: Tensor, k: Tensor, v: Tensor, heads: int) -> None:
    """As near to the exact result as torch's own attention is, give or take."""
    exact = attend(q.double(), k.double(), v.double(), heads)
    rounding = (attend(q, k, v, heads) - exact).abs().max()
    assert (have - exact).abs().max() <= 4 * rounding + 2e-6 * v.abs().max()


@pytest.mark.parametrize("queries", [1, 11, 12, 13, 48, 49, 100])
@pytest.mark.parametrize("keys", [1, 31, 32, 33, 256, 257, 513])
def test_sizes(ops: Ops, queries: int, keys: int) -> None:
    """Around the tile's, panel's and blocks' edges; as chunks of wider projections, and for two images."""
    for heads, width in ((2, 32), (1, 64), (1, 128)):
        channels = heads * width
        q = random(2, queries, 3 * channels)[..., channels : 2 * channels]
        k, v = random(2, keys, 2 * channels).chunk(2, -1)
        assert_right(ops.attend(q, k, v, heads), q, k, v, heads)


def test_extreme_scores(ops: Ops) -> None:
    """Scores of hundreds: one key takes all, wherever it lies; the running maximum rises in every block or in none."""
    q = torch.ones(1, 3, 64)
    v = random(1, 700, 64)
    for order in (1, -1):
        k = (torch.linspace(-90, 90, 700)[None, :, None] * order).expand(1, 700, 64).contiguous()
        have = ops.attend(q, k, v, 2)
        assert_right(have, q, k, v, 2)
        winner = 699 if order > 0 else 0
        torch.testing.assert_close(have[0, 0], attend(q, k, v, 2)[0, 0])
        assert (have[0, 0] - v[0, winner]).abs().max() < 1.0
    equal = ops.attend(q, torch.zeros(1, 700, 64), v, 2)
    torch.testing.assert_close(equal, v.mean(1, keepdim=True).expand(1, 3, 64), atol=1e-6, rtol=1e-5)


def test_one_query_for_many_images(ops: Ops) -> None:
    """Expanded queries, whose images lie no distance apart."""
    q = random(1, 50, 64).expand(3, -1, -1)
    k, v = random(3, 70, 128).chunk(2, -1)
    assert_right(ops.attend(q, k, v, 2), q, k, v, 2)


def test_threads_agree(ops: Ops) -> None:
    q, k, v = random(2, 500, 384).chunk(3, -1)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(ops.attend(q, k, v, 4))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
