# SPDX-License-Identifier: Apache-2.0
"""Gaussians come and go: values and moments move together, whatever the order of the changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blendsplat.training.growth import clone, keep, split
from blendsplat.training.parameters import ParameterGroup, Parameters, Rearrangement


def parameters(count: int = 6) -> Parameters:
    """Three tensors: per Gaussian on axis 0 and on axis 1, and one of no Gaussian; with moments of three steps."""
    generator = torch.Generator().manual_seed(count)

    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    made = Parameters([
        ParameterGroup("positions", {"positions": tensor(count, 3)}, lambda images: 0.1, 0),
        ParameterGroup("deltas", {"deltas": tensor(2, count, 4)}, lambda images: 0.2 / (1 + images), 1),
        ParameterGroup("net", {"net.weight": tensor(5, 5), "net.bias": tensor(5)}, lambda images: 0.3),
    ])  # fmt: skip
    for _ in range(3):
        made.optimiser.step([tensor(*value.shape) for _, value in made.tensors()])
    return made


def test_rates_are_their_groups() -> None:
    assert parameters().rates(1) == [0.1, 0.1, 0.3, 0.3]


def test_a_name_may_occur_once() -> None:
    group = ParameterGroup("a", {"a": torch.zeros(2)}, lambda images: 1.0)
    with pytest.raises(ValueError, match="twice"):
        Parameters([group, group])


masks = st.lists(st.booleans(), min_size=1, max_size=9).map(torch.tensor)


@given(masks)
def test_keeping_cloning_and_splitting_say_where_each_comes_from(mask: torch.Tensor) -> None:
    everyone, chosen = torch.arange(len(mask)), mask.nonzero()[:, 0]
    assert torch.equal(keep(mask).source, chosen) and not keep(mask).fresh.any()
    cloned = clone(mask)
    assert torch.equal(cloned.source, torch.cat([everyone, chosen])) and cloned.fresh.sum() == len(chosen)
    halves = split(mask, 2)
    assert len(halves) == len(mask) + len(chosen)
    assert torch.equal(halves.source[~halves.fresh], (~mask).nonzero()[:, 0])
    assert torch.equal(halves.source[halves.fresh].sort().values, chosen.repeat(2).sort().values)


@settings(deadline=None)
@given(st.data())
def test_one_change_after_another_is_one_change(data: st.DataObject) -> None:
    """Moments after both, one by one, are those after the two as one."""
    made = parameters()
    first = split(torch.tensor(data.draw(st.lists(st.booleans(), min_size=6, max_size=6))))
    mask = data.draw(st.lists(st.booleans(), min_size=len(first), max_size=len(first)))
    second = clone(torch.tensor(mask))
    values, moments = made.rearranged(first), made.moments(first)
    between = Parameters([
        ParameterGroup(g.name, {name: values[name].contiguous() for name in g.tensors}, g.rate, g.gaussian_axis)
        for g in made.groups
    ])  # fmt: skip
    between.restore_moments(moments)
    both = first.then(second)
    for name, value in between.moments(second).items():
        torch.testing.assert_close(value, made.moments(both)[name], rtol=0, atol=0)
    for name, value in between.rearranged(second).items():
        torch.testing.assert_close(value, made.rearranged(both)[name], rtol=0, atol=0)


def test_fresh_ones_have_no_moments_and_others_keep_theirs() -> None:
    made = parameters()
    change = Rearrangement(torch.tensor([5, 0, 0]), torch.tensor([False, False, True]))
    before, after = made.moments(), made.moments(change)
    for kind in ("exp_avg", "exp_avg_sq"):
        deltas, moved = before[f"optimiser.deltas.{kind}"], after[f"optimiser.deltas.{kind}"]
        assert moved.shape == (2, 3, 4)
        torch.testing.assert_close(moved[:, :2], deltas[:, [5, 0]])
        assert not moved[:, 2].any()
        assert torch.equal(after[f"optimiser.net.weight.{kind}"], before[f"optimiser.net.weight.{kind}"])
    assert after["optimiser.positions.step"] == 3


def test_moments_of_another_number_are_refused() -> None:
    with pytest.raises(RuntimeError):
        parameters(7).restore_moments(parameters(6).moments())
