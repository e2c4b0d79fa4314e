# SPDX-License-Identifier: Apache-2.0
"""Peers must be right before they are timed: each against the oracle, and a wrong one is told."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from blendsplat.bench.peers import table, torch_tiles
from blendsplat.bench.peers.lists import Renderer
from blendsplat.bench.plan import Plan
from blendsplat.splatting.scene import Scene


def test_plain_torch_is_right() -> None:
    assert table.oracle_error(torch_tiles.make) < 2e-5


def test_warp_is_right() -> None:
    pytest.importorskip("warp")
    from blendsplat.bench.peers import warp_tiles

    assert table.oracle_error(warp_tiles.make) < 2e-5


def wrong(scene: Scene) -> Renderer:
    """Plain PyTorch with a tenth of the scales' gradient lost."""
    right = torch_tiles.make(scene)

    def render(parameters: list[Tensor]) -> Tensor:
        means, quats, scales, opacities, colors = parameters
        return right([means, quats, 0.9 * scales + 0.1 * scales.detach(), opacities, colors])

    return render


def without_colors(scene: Scene) -> Renderer:
    right = torch_tiles.make(scene)
    return lambda parameters: right([*parameters[:4], parameters[4].detach()])


def test_a_wrong_gradient_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert table.oracle_error(wrong) == pytest.approx(0.1, rel=1e-2)
    assert table.oracle_error(without_colors) == float("inf")
    monkeypatch.setattr(table, "_installed", lambda: ({"wrong": wrong}, []))
    plan = Plan(threads=(1,), seconds=0.0, gaussians=30, size=20)
    (told,) = table.peers(plan)
    errors = [row.extra.get("error") for row in told.rows]
    assert errors == [None, None, "1.0e-01 WRONG", "1.0e-01 WRONG"]
    assert torch.is_grad_enabled()
