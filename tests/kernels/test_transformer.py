# SPDX-License-Identifier: Apache-2.0
"""The transformer's kernels against double precision, per instruction set: odd sizes, extreme numbers, threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from blendsplat.kaolrm.encoder import EPS, attend
from blendsplat.kaolrm.ops import Mlp, Norm, PanelOps, Panels
from blendsplat.splatting.backend import cpu_backend


@pytest.fixture(params=["avx512", "avx2", "generic"])
def ops(request: pytest.FixtureRequest) -> Iterator[PanelOps]:
    kernels: Any = cpu_backend().kernels
    before = kernels.instruction_set()
    if not kernels.use_instruction_set(request.param):
        pytest.skip(f"no {request.param} here")
    yield PanelOps(kernels)
    kernels.use_instruction_set(before)


def random(*size: int, spread: float = 1.0) -> Tensor:
    return spread * torch.randn(*size, generator=torch.Generator().manual_seed(sum(size)))


def assert_near(have: Tensor, exact: Tensor, terms: int) -> None:
    """As exact as a float32 sum of so many terms."""
    assert have.shape == exact.shape
    assert (have - exact).abs().max() <= 6e-7 * (1 + terms**0.5 / 4) * exact.abs().max().clamp(min=1.0)


def run_attention(ops: PanelOps, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    return ops.leave(ops.attend(ops.enter(q), ops.enter(k), ops.enter(v), heads))


def assert_attention_right(have: Tensor, q: Tensor, k: Tensor, v: Tensor, heads: int, score: float = 0.0) -> None:
    """As near to the exact result as torch's own attention is, give or take; scores are as exact as float32 is."""
    exact = attend(q.double(), k.double(), v.double(), heads)
    rounding = (attend(q, k, v, heads) - exact).abs().max()
    assert (have - exact).abs().max() <= 4 * rounding + (2e-6 + 1.2e-7 * score) * v.abs().max()


@pytest.mark.parametrize("tokens", [1, 47, 48, 49, 200])
def test_panels_hold_the_tokens(ops: PanelOps, tokens: int) -> None:
    x = random(2, tokens, 5)
    panels = ops.enter(x)
    assert panels.data.shape == (2, -(-tokens // 48), 5, 48)
    assert torch.equal(ops.leave(panels), x)
    assert torch.equal(ops.leave(ops.repeat(ops.enter(x[:1]), 3)), x[:1].expand(3, -1, -1))


@pytest.mark.parametrize("tokens", [1, 48, 49, 500])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 9), (64, 24), (130, 17)])
def test_linear(ops: PanelOps, tokens: int, inputs: int, outputs: int) -> None:
    """Around the panel's, tile's and block's edges, with and without each part."""
    x, weight, before = random(2, tokens, inputs), random(outputs, inputs), random(2, tokens, outputs)
    bias, scale = random(outputs + 1)[1:].clone(), random(outputs + 2)[2:].clone()
    norm = Norm(1 + 0.3 * random(inputs), random(inputs + 3)[3:].clone())
    line = x.double() @ weight.double().T
    assert_near(ops.leave(ops.linear(ops.enter(x), weight)), line, inputs)
    have = ops.linear(ops.enter(x), weight, bias, scale=scale, add=ops.enter(before))
    assert_near(ops.leave(have), before.double() + scale.double() * (line + bias.double()), inputs)
    if inputs > 1:
        normed = layer_norm(x.double(), (inputs,), norm.weight.double(), norm.bias.double(), EPS)
        have = ops.linear(ops.enter(x), weight, norm=norm, add=ops.enter(before))
        assert_near(ops.leave(have), before.double() + normed @ weight.double().T, inputs)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(("tokens", "channels", "hidden"), [(1, 8, 5), (49, 24, 96), (300, 64, 384), (50, 20, 900)])
def test_mlp(ops: PanelOps, tokens: int, channels: int, hidden: int, scaled: bool) -> None:
    """More hidden channels than are worked on at a time, too."""
    x, norm = random(2, tokens, channels), Norm(1 + 0.3 * random(channels), random(channels + 1)[1:].clone())
    mlp = Mlp(random(hidden, channels), random(hidden), random(channels, hidden) / hidden**0.5, random(channels))
    scale = random(channels + 2)[2:].clone() if scaled else None
    normed = layer_norm(x.double(), (channels,), norm.weight.double(), norm.bias.double(), EPS)
    curved = gelu(normed @ mlp.wide.double().T + mlp.wide_bias.double())
    change = curved @ mlp.narrow.double().T + mlp.narrow_bias.double()
    want = x.double() + (change if scale is None else change * scale.double())
    assert_near(ops.leave(ops.mlp(ops.enter(x), norm, mlp, scale)), want, channels + hidden)


def test_the_gelu_is_exact(ops: PanelOps) -> None:
    """Of every size, far beyond where its approximation ends. Weights of zero leave the hidden bias alone."""
    x = torch.cat([torch.linspace(-9, 9, 4001), torch.tensor([-1e4, 1e4, 0.0, -0.0, 1e-30, 5.5, -5.5])])
    norm = Norm(torch.ones(64), torch.zeros(64))
    for part in x.split(64):
        mlp = Mlp(torch.zeros(len(part), 64), part.clone(), torch.eye(64)[:, : len(part)].contiguous(), torch.zeros(64))
        have = ops.leave(ops.mlp(ops.enter(torch.zeros(1, 1, 64)), norm, mlp))[0, 0, : len(part)]
        assert ((have - gelu(part.double())).abs() <= 2.5e-7 * part.abs().clamp(min=1.0)).all()


@pytest.mark.parametrize("queries", [1, 47, 48, 49, 193])
@pytest.mark.parametrize("keys", [1, 7, 48, 49, 144, 145, 300])
def test_attention(ops: PanelOps, queries: int, keys: int) -> None:
    """Around the tile's, panel's and blocks' edges; as channels of wider projections, and for two images."""
    for heads, width in ((2, 32), (1, 12), (1, 128)):
        channels = heads * width
        wide, pair = random(2, queries, 3 * channels), random(2, keys, 2 * channels)
        q, (k, v) = wide[..., channels : 2 * channels], pair.chunk(2, -1)
        parts = ops.split(ops.enter(wide), 3)[1], *ops.split(ops.enter(pair), 2)
        assert_attention_right(ops.leave(ops.attend(*parts, heads)), q, k, v, heads)


def test_extreme_scores(ops: PanelOps) -> None:
    """Scores of hundreds: one key takes all, wherever it lies; the running maximum rises in every block or in none."""
    q = torch.ones(1, 3, 64)
    v = random(1, 700, 64)
    for order in (1, -1):
        k = (torch.linspace(-90, 90, 700)[None, :, None] * order).expand(1, 700, 64).contiguous()
        have = run_attention(ops, q, k, v, 2)
        assert_attention_right(have, q, k, v, 2, score=90 * 32**0.5)
        winner = 699 if order > 0 else 0
        torch.testing.assert_close(have[0, 0], attend(q, k, v, 2)[0, 0], atol=2e-4, rtol=1e-4)
        assert (have[0, 0] - v[0, winner]).abs().max() < 1.0
    equal = run_attention(ops, q, torch.zeros(1, 700, 64), v, 2)
    torch.testing.assert_close(equal, v.mean(1, keepdim=True).expand(1, 3, 64), atol=1e-6, rtol=1e-5)


def test_what_fills_the_last_panel_is_not_seen(ops: PanelOps) -> None:
    q, k, v = random(1, 50, 64), random(1, 70, 64), random(2, 70, 64)[:1]
    panels = [ops.enter(x) for x in (q, k, v)]
    right = ops.leave(ops.attend(panels[0], panels[1], panels[2], 2))
    for x in panels:
        x.data[:, -1, :, x.tokens % 48 :] = 1e30
    assert torch.equal(ops.leave(ops.attend(panels[0], panels[1], panels[2], 2)), right)


def test_threads_agree(ops: PanelOps) -> None:
    x = random(2, 500, 96)
    norm = Norm(torch.ones(96), torch.zeros(96))
    mlp = Mlp(random(400, 96), random(400), random(96, 400), random(96))
    weight = random(288, 96)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            mixed = ops.attend(*ops.split(ops.linear(ops.enter(x), weight, norm=norm), 3), 4)
            results.append(ops.leave(ops.mlp(mixed, norm, mlp)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_weights_that_no_kernel_can_read(ops: PanelOps) -> None:
    x = Panels(torch.zeros(1, 1, 8, 48), 48)
    for weight in (torch.zeros(8, 8).double(), torch.zeros(8, 16)[:, ::2]):
        with pytest.raises(ValueError, match="contiguous float32"):
            ops.linear(x, weight)
