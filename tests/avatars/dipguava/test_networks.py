# SPDX-License-Identifier: Apache-2.0
"""DipGuava's networks: shapes, what a condition does, rows of a batch by themselves, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from blendsplat.avatars.dipguava.network_set import LearnedMap
from blendsplat.avatars.dipguava.networks import (
    COARSEST,
    LEVELS,
    MixedMaps,
    TexelMlp,
    UNet,
    encoded_places,
    encoded_size,
)


@pytest.fixture(autouse=True)
def the_same_numbers() -> None:
    torch.manual_seed(7)


@pytest.mark.parametrize("size", [COARSEST, 2 * COARSEST, 3 * COARSEST])
@pytest.mark.parametrize("condition", [0, 5])
def test_a_map_has_the_size_of_its_input(size: int, condition: int) -> None:
    net = UNet(3, 4, 4, condition)
    drawn = net(torch.randn(2, 3, size, size), torch.randn(2, condition) if condition else None)
    assert drawn.shape == (2, 4, size, size) and drawn.isfinite().all()


def test_the_channels_are_the_papers_choice() -> None:
    assert [block.second.out_channels for block in UNet(3, 4, 64).down] == [64, 128, 256, 512, 512]
    assert LEVELS[-1] * 64 == 512 and COARSEST == 16, "8 x 8 x 512 at the bottleneck of a map of 128"


def test_the_condition_changes_the_map_and_joins_everywhere() -> None:
    net, maps = UNet(3, 4, 4, 5), torch.randn(1, 3, 32, 32)
    one, other = net(maps, torch.zeros(1, 5)), net(maps, torch.tensor([[0.0, 0, 0, 0, 2]]))
    assert ((one - other).abs().amax(1) > 1e-6).float().mean() > 0.99


def test_a_map_depends_on_what_is_far_away() -> None:
    """The bottleneck sees the whole face: a wrinkle may follow from the other end of it."""
    net, maps = UNet(3, 1, 4), torch.randn(1, 3, 32, 32).requires_grad_()
    net(maps)[0, 0, 0, 0].backward()
    assert maps.grad[0, :, 31, 31].any()


def test_zero_starts_at_exactly_zero_and_still_learns() -> None:
    maps, places = torch.randn(2, 3, 16, 16), torch.randn(9, 6)
    nets = UNet(3, 4, 4, 5, zero=True), TexelMlp(6, 4, 8, 3, condition=5, own=3, zero=True)
    drawn = nets[0](maps, torch.randn(2, 5)), nets[1](places, torch.randn(2, 5), torch.randn(2, 9, 3))
    for net, values in zip(nets, drawn, strict=True):
        assert not values.any()
        values.sum().backward()
        assert net.last.weight.grad.any() and net.last.bias.grad.any()


@pytest.mark.parametrize("kind", ["unet", "mlp"])
def test_a_frame_is_drawn_alike_in_any_batch(kind: str) -> None:
    """A norm over the batch would mix the frames."""
    condition = torch.randn(3, 5)
    if kind == "unet":
        net, maps = UNet(3, 4, 4, 5), torch.randn(3, 3, 16, 16)
        whole, single = net(maps, condition), [net(maps[[i]], condition[[i]]) for i in range(3)]
    else:
        net, place, own = TexelMlp(6, 4, 8, 3, condition=5, own=3), torch.randn(9, 6), torch.randn(3, 9, 3)
        whole, single = net(place, condition, own), [net(place, condition[[i]], own[[i]]) for i in range(3)]
    torch.testing.assert_close(whole, torch.cat(single), atol=1e-5, rtol=1e-4)


def check_gradients(net: nn.Module, loss, names: list[str]) -> None:
    """A few entries of these parameters, in float64, against central differences."""
    loss().backward()
    parameters = dict(net.named_parameters())
    for name in names:
        value, grad = parameters[name].detach().flatten(), parameters[name].grad.flatten()
        for place in {0, len(value) // 2, len(value) - 1}:
            kept, step, found = float(value[place]), 1e-6, []
            for sign in (1, -1):
                value[place] = kept + sign * step
                found.append(float(loss().detach()))
            value[place] = kept
            assert float(grad[place]) == pytest.approx((found[0] - found[1]) / (2 * step), rel=1e-5, abs=1e-8), name


def test_gradients_of_the_unet() -> None:
    net = UNet(3, 4, 4, 5).double()
    maps, condition, pull = torch.randn(2, 3, 16, 16).double(), torch.randn(2, 5).double(), torch.randn(2, 4, 16, 16)
    names = [
        "down.0.first.weight",
        "down.4.second.weight",
        "condition.weight",
        "up.0.first.weight",
        "up.3.norms.1.bias",
    ]
    check_gradients(net, lambda: (net(maps, condition) * pull).sum(), [*names, "last.weight", "last.bias"])


def test_gradients_of_the_mlp() -> None:
    net = TexelMlp(6, 4, 8, 4, condition=5, own=3).double()
    inputs = torch.randn(9, 6).double(), torch.randn(2, 5).double(), torch.randn(2, 9, 3).double()
    names = ["place.weight", "condition.weight", "own.weight", "hidden.0.weight", "hidden.1.bias", "last.weight"]
    check_gradients(net, lambda: net(*inputs).square().sum(), names)


@pytest.mark.parametrize("layers", [2, 3, 6])
def test_the_mlp_is_a_plain_one_on_all_its_inputs(layers: int) -> None:
    net = TexelMlp(6, 4, 8, layers, condition=5, own=3)
    place, condition, own = torch.randn(9, 6), torch.randn(2, 5), torch.randn(2, 9, 3)
    everything = torch.cat([place.expand(2, -1, -1), condition[:, None].expand(-1, 9, -1), own], -1)
    first = nn.Linear(14, 8)
    with torch.no_grad():
        first.weight.copy_(torch.cat([net.place.weight, net.condition.weight, net.own.weight], 1))
        first.bias.copy_(net.place.bias)
    x: Tensor = first(everything)
    linear = [*net.hidden, net.last]
    assert len(linear) == layers - 1, "with the first, as many layers as were asked for"
    for layer in linear:
        x = layer(silu(x))
    torch.testing.assert_close(net(place, condition, own), x)


def test_an_mlp_of_places_alone_has_one_row_for_all_frames() -> None:
    assert TexelMlp(6, 4, 8, 3)(torch.randn(9, 6)).shape == (1, 9, 4)


def test_places_are_encoded_by_hand() -> None:
    points = torch.tensor([[0.0, 0, 0], [4, 2, 1], [1, 1, 1]])
    code = encoded_places(points, 3)
    unit = (points - torch.tensor([2.0, 1, 0.5])) / 2
    octaves = [torch.pi * unit, 2 * torch.pi * unit, 4 * torch.pi * unit]
    wanted = torch.cat([unit, *(a.sin() for a in octaves), *(a.cos() for a in octaves)], 1)
    torch.testing.assert_close(code, wanted, atol=1e-5, rtol=0)
    assert torch.equal(encoded_places(points, 0), unit)
    torch.testing.assert_close(encoded_places(7 * points + 3, 3), code, atol=1e-4, rtol=0)
    assert encoded_places(torch.ones(4, 3), 2).isfinite().all(), "one place only"


@pytest.mark.parametrize("width", range(4, 33))
def test_any_width_that_the_settings_allow_is_a_network(width: int) -> None:
    assert UNet(3, 4, width, 5)(torch.rand(1, 3, 16, 16), torch.rand(1, 5)).shape == (1, 4, 16, 16)


@pytest.mark.parametrize("frequencies", [0, 1, 8])
def test_places_have_as_many_columns_as_is_said(frequencies: int) -> None:
    assert encoded_places(torch.rand(7, 3), frequencies).shape == (7, encoded_size(frequencies))


def test_mixed_maps_are_linear_blendshapes_in_uv_space() -> None:
    """Zero at first, though they learn at once; then the maps' sum, each as the condition weighs it."""
    torch.manual_seed(2)
    mixed, condition = MixedMaps(3, 4, 8, 2, width=6), torch.randn(5, 3)
    out = mixed(condition)
    assert out.shape == (5, 2, 8, 8) and not out.any()
    (out * torch.randn(5, 2, 8, 8)).sum().backward()
    assert mixed.maps.grad is not None and (mixed.maps.grad.flatten(1).norm(dim=1) > 0).all()
    with torch.no_grad():
        mixed.maps.normal_()
        out, weights = mixed(condition), mixed.weights(condition)
    for frame in range(5):
        by_hand = sum(float(weights[frame, k].detach()) * mixed.maps[k].detach() for k in range(4))
        torch.testing.assert_close(out[frame], by_hand)


def test_a_learned_texture_spreads_to_what_no_frame_shows() -> None:
    """A step on one texel moves its surroundings on the coarser levels, and a map of one level nothing else."""
    for levels, count in ((1, 1), (3, 3), (9, 4)):
        learned = LearnedMap(256, levels)
        assert [level.shape[-1] for level in learned.maps] == [256, 64, 16, 4][:count]
        learned()[0, 0, 100, 100].backward()
        with torch.no_grad():
            for level in learned.maps:
                assert level.grad is not None
                level.sub_(level.grad.sign())
        moved = (learned()[0, 0] < 0).nonzero()
        assert [100, 100] in moved.tolist()
        reach = (moved - 100).abs().max()
        assert reach == 0 if levels == 1 else reach > 16
    assert LearnedMap(2, 3)().shape == (1, 4, 2, 2)
