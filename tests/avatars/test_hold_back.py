# SPDX-License-Identifier: Apache-2.0
"""What an avatar was never shown is held back: what it was shown is not touched, nothing beyond flies apart, and the
add-on's numpy does what the engine does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from blendsplat.avatars.hold_back import HEADROOM, SeenWeights, held_features
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.heads.model import HeadParams
from blendsplat.systems import load_avatar
from tiny_clip import tiny_avatar, tiny_head, tiny_tracking
from tiny_dipguava import tiny_dipguava

ADDON = Path(__file__).parents[2] / "blender_addon"
STRENGTHS = (0.05, 0.4, 1.0)
POSES = 500


@pytest.fixture(name="addon", scope="module")
def the_addons_modules() -> Iterator[Callable[[str], Any]]:
    """Modules of the add-on that need no Blender, without its own __init__."""
    for name, folder in (("addon_held", ADDON), ("addon_held.scene", ADDON / "scene")):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    yield lambda name: importlib.import_module(f"addon_held.{name}")
    for name in [name for name in sys.modules if name.split(".")[0] == "addon_held"]:
        del sys.modules[name]


def frames_of(seed: int, frames: int = 80, keys: int = 7) -> Tensor:
    """Weights of a clip: entangled, far from zero, of very different sizes, one of them constant."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(frames, 3)) @ rng.normal(size=(3, keys)) + 0.1 * rng.normal(size=(frames, keys))
    weights = 3 * rng.normal(size=keys) + mixed * 10 ** rng.uniform(-2, 1, keys)
    weights[:, 2] = 0.7
    return torch.tensor(weights, dtype=torch.float32)


def rays(seed: int, keys: int = 7) -> Tensor:
    rng = np.random.default_rng(100 + seed)
    return torch.tensor(rng.normal(size=(40, keys)) * 10 ** rng.uniform(-1, 2, (40, 1)))


@pytest.fixture(params=range(4), ids=lambda seed: f"clip {seed}")
def clip(request: pytest.FixtureRequest) -> tuple[Tensor, SeenWeights, Tensor]:
    weights = frames_of(request.param)
    return weights, SeenWeights.of(weights), rays(request.param)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_what_was_seen_is_played_to_the_bit(clip: tuple[Tensor, SeenWeights, Tensor], strength: float) -> None:
    weights, seen, _ = clip
    assert torch.equal(seen.held(weights, strength), weights)
    between = (weights[:-1] + weights[1:]) / 2  # the seen set is convex
    assert torch.equal(seen.held(between, strength), between)
    assert torch.equal(SeenWeights.of_range(seen.range).held(weights, strength), weights)


def test_without_strength_nothing_is_held(clip: tuple[Tensor, SeenWeights, Tensor]) -> None:
    _, seen, away = clip
    far = (seen.mean.double() + 1e6 * away).float()
    assert seen.held(far, 0.0) is far
    features = torch.randn(5, 4)
    assert held_features(features, torch.zeros(2, 4), 0.0) is features


@pytest.mark.parametrize("known", ["all", "range"])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_beyond_it_saturates_along_the_ray(
    clip: tuple[Tensor, SeenWeights, Tensor], strength: float, known: str
) -> None:
    """Never above the headroom, in every direction the further the further, and always towards where it went."""
    _, seen, away = clip
    seen = seen if known == "all" else SeenWeights.of_range(seen.range)
    mean, before = seen.mean.double(), torch.zeros(len(away), dtype=torch.float64)
    for step in (0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 10.0, 1e3, 1e6):
        held = seen.held(mean + step * away, strength) - mean
        gauge = seen.gauge(held)
        assert held.isfinite().all() and (gauge <= 1 + HEADROOM / strength + 1e-9).all()
        assert (gauge >= before - 1e-9).all(), "monotone"
        assert (torch.cosine_similarity(held, away, dim=1) > 1 - 1e-9).all() or step == 0
        before = gauge


@pytest.mark.parametrize("strength", STRENGTHS)
def test_nothing_jumps(clip: tuple[Tensor, SeenWeights, Tensor], strength: float) -> None:
    """A step's change is at most a few times the step, in the limiter's own measure; across the border as well."""
    _, seen, away = clip
    mean = seen.mean.double()
    border = away / seen.gauge(away)[:, None]
    other = torch.roll(border, 1, 0)
    for reach in (0.99, 1.0, 1.01, 3.0, 50.0):
        start, small = mean + reach * border, 1e-4 * other
        moved = seen.held(start + small, strength) - seen.held(start, strength)
        assert (torch.maximum(seen.gauge(moved), seen.gauge(-moved)) < 20 * 1e-4).all()


def test_the_slope_goes_on_over_the_border() -> None:
    seen = SeenWeights.of(frames_of(1))
    mean, ray = seen.mean.double(), rays(1)
    ray = ray / seen.gauge(ray)[:, None]
    inside, outside = (seen.gauge(seen.held(mean + t * ray, 1.0) - mean) for t in (1.0, 1.001))
    assert ((outside - inside) / 0.001 > 0.99).all() and ((outside - inside) / 0.001 <= 1 + 1e-6).all()


def test_a_combination_is_held_where_every_weight_alone_was_seen() -> None:
    """Two weights that always went together: apart they are as far as never."""
    both = torch.linspace(-1, 1, 50)[:, None].repeat(1, 2) + 0.01 * torch.randn(50, 2, generator=torch.manual_seed(0))
    seen, apart = SeenWeights.of(both), torch.tensor([[0.9, -0.9]])
    assert torch.equal(SeenWeights.of_range(seen.range).held(apart, 1.0), apart)
    assert float(seen.held(apart, 1.0).abs().max()) < 0.2


@pytest.mark.parametrize("frames", [1, 2])
def test_a_clip_of_hardly_any_frame_holds_near_it(frames: int) -> None:
    weights = frames_of(0)[:frames]
    seen = SeenWeights.of(weights)
    assert torch.equal(seen.held(weights, 1.0), weights)
    held = seen.held(weights + 100, 1.0)
    assert held.isfinite().all() and (held - seen.mean).abs().max() < 50


@pytest.mark.parametrize("strength", STRENGTHS)
def test_features_stay_near_their_range(strength: float) -> None:
    rng = np.random.default_rng(3)
    seen = torch.tensor(np.sort(rng.normal(size=(2, 6)), 0), dtype=torch.float32)
    seen[:, 4] = 0.3  # never moved
    inside = seen[0] + torch.rand(50, 6) * (seen[1] - seen[0])
    assert torch.equal(held_features(inside.clamp(*seen), seen, strength), inside.clamp(*seen))
    x = torch.linspace(-30, 30, 4001, dtype=torch.float64)[:, None].repeat(1, 6)
    held = held_features(x, seen, strength)
    room = HEADROOM / strength * (seen[1] - seen[0]).double() / 2 + 1e-6
    assert (held <= seen[1] + room).all() and (held >= seen[0] - room).all()
    assert (held.diff(dim=0) >= -1e-12).all() and (held.diff(dim=0) <= 0.015 + 1e-9).all()


# --- the add-on


@pytest.mark.parametrize("known", ["all", "range"])
def test_the_addon_holds_as_the_engine_does(
    addon: Callable[[str], Any], clip: tuple[Tensor, SeenWeights, Tensor], known: str
) -> None:
    numpy_side, (weights, seen, away) = addon("scene.hold_back"), clip
    arrays = {"weight_range": seen.range.numpy()}
    if known == "all":
        covariance = seen.covariance
        assert covariance is not None
        arrays |= {"weight_mean": seen.mean.numpy(), "weight_covariance": covariance.numpy()}
        arrays["weight_reach"] = np.array([seen.reach])
    else:
        seen = SeenWeights.of_range(seen.range)
    file = type("File", (), {"arrays": arrays, "blendshapes": 7})()
    theirs = numpy_side.SeenWeights.unpack(numpy_side.SeenWeights.of_file(file).pack())
    far = seen.mean.double() + away
    strengths = np.linspace(0, 1, len(far))
    want = torch.cat([seen.held(row[None], float(strength)) for row, strength in zip(far, strengths, strict=True)])
    have = theirs.held(far.numpy(), strengths)
    np.testing.assert_allclose(have, want.numpy(), rtol=1e-5, atol=1e-6 * float(weights.abs().max()))
    np.testing.assert_array_equal(theirs.held(weights.numpy(), 1.0), weights.numpy())
    np.testing.assert_array_equal(have[0], far[0].numpy())
    untouched = weights.numpy()
    assert numpy_side.HEADROOM == HEADROOM and theirs.held(untouched, 0.0) is untouched


def test_the_addon_holds_features_as_the_engine_does(addon: Callable[[str], Any]) -> None:
    numpy_side, rng = addon("scene.hold_back"), np.random.default_rng(9)
    seen = np.sort(rng.normal(size=(2, 8)), 0).astype(np.float32)
    x = (3 * rng.normal(size=(30, 8))).astype(np.float32)
    for strength in (0.0, *STRENGTHS):
        want = held_features(torch.from_numpy(x), torch.from_numpy(seen), strength).numpy()
        np.testing.assert_allclose(numpy_side.held_features(x, seen, strength), want, atol=1e-6)
    mixed = numpy_side.held_features(x, seen, np.array([0.0, 1.0] * 15))
    np.testing.assert_array_equal(mixed[::2], x[::2])
    np.testing.assert_array_equal(mixed[1::2], numpy_side.held_features(x, seen, 1.0)[1::2])


# --- avatars


def trained() -> RGBAvatar:
    """The tiny avatar with a network that means something, as if it had been trained on 40 frames."""
    avatar = tiny_avatar(tiny_head())
    with torch.no_grad():
        for layer in avatar.mlp:
            layer.weight.mul_(3)
        avatar.note_seen(avatar.features(tiny_tracking(tiny_head(), 40).params()))
    return avatar


def extremes(head_expressions: int, seed: int = 0) -> HeadParams:
    """All sliders at random ends, jaw, neck and eyes up to 45 degrees."""
    rng, turn = np.random.default_rng(seed), np.pi / 4

    def random(*shape: int, reach: float) -> Tensor:
        return torch.tensor(rng.uniform(-reach, reach, (POSES, *shape)), dtype=torch.float32)

    ends = torch.tensor(rng.choice([-3.0, 3.0], (POSES, head_expressions)), dtype=torch.float32)
    return HeadParams(
        torch.zeros(1, 0), ends, random(3, reach=turn), random(3, reach=turn), random(3, reach=turn),
        random(2, 3, reach=turn), torch.tensor(rng.choice([0.0, 1.0], (POSES, 2)), dtype=torch.float32),
        random(3, reach=0.5),
    )  # fmt: skip


def farthest(avatar: RGBAvatar, weights: Tensor) -> Tensor:
    """How far each Gaussian [N] goes from its triangle at most, in its own frame, over the weights [B,K]."""
    local = avatar.positions + torch.einsum("bk,knc->bnc", weights, avatar.delta_positions)
    return local.norm(dim=-1).amax(0)


@torch.no_grad()
def test_no_pose_makes_an_avatar_explode() -> None:
    """500 extreme poses: no Gaussian goes farther from its mean place than (1 + headroom) of what the farthest place in
    the seen set of weights is from it, and sizes are those of training. Without the hold some go beyond."""
    avatar, params = trained(), extremes(3)
    seen = avatar.seen_weights
    assert seen is not None
    middle = farthest(avatar, seen.mean[None])
    spread = torch.linalg.inv(seen.whitening()).float() * seen.reach  # columns span the seen ellipsoid
    moved = torch.einsum("knc,kj->njc", avatar.delta_positions, spread)
    bound = middle + (1 + HEADROOM) * torch.linalg.matrix_norm(moved, ord=2)
    assert (farthest(avatar, avatar.weights(params)) > bound).any(), "the test must be able to fail"
    own = farthest(avatar, avatar.weights(tiny_tracking(tiny_head(), 40).params()))
    avatar.hold(1.0)
    reach = farthest(avatar, avatar.weights(params))
    assert (reach <= bound * 1.001).all() and (reach <= 2 * own + 1e-4).all()
    driven, resting = avatar.drive(params), avatar.vertices(params)
    places = (resting[:, avatar.corners] * avatar.barycentrics[..., None]).sum(2)
    stretched = 2**0.5  # of a tangent frame whose axes lie together
    assert all(part.isfinite().all() for part in driven.tensors())
    assert ((driven.means - places).norm(dim=-1) <= stretched * reach * 1.001 + 1e-6).all()
    assert torch.equal(driven.scales, avatar.log_scales.exp().expand_as(driven.scales))


@torch.no_grad()
def test_the_own_clip_plays_to_the_bit_and_a_strength_of_nothing_as_ever(tmp_path: Path) -> None:
    avatar, params, wild = trained(), tiny_tracking(tiny_head(), 40).params(), extremes(3)[:20]
    as_ever, wild_as_ever = avatar.drive(params), avatar.drive(wild)
    avatar.save(tmp_path / "a.avatar.npz")
    loaded = load_avatar(tmp_path / "a.avatar.npz")
    loaded_wild = loaded.drive(wild)
    for one, before in ((avatar, wild_as_ever), (loaded, loaded_wild)):
        one.hold(1.0)
        assert not torch.equal(one.drive(wild).means, before.means)
        mine = one.drive(params).means
        one.hold(0.0)
        assert torch.equal(mine, one.drive(params).means)
        assert torch.equal(one.drive(wild).means, before.means) and torch.equal(one.drive(wild).colors, before.colors)
    assert torch.equal(avatar.drive(params).means, as_ever.means)


def test_an_animation_holds_as_driving_does() -> None:
    avatar, wild = trained(), extremes(3)[:4]
    avatar.hold(0.7)
    torch.testing.assert_close(avatar.animation(4)(wild).means, avatar.drive(wild).means.detach(), atol=1e-5, rtol=1e-4)


def test_an_avatar_that_does_not_know_is_not_held() -> None:
    avatar, wild = tiny_avatar(tiny_head()), extremes(3)[:20]
    before = avatar.weights(wild)
    avatar.hold(1.0)
    assert torch.equal(avatar.weights(wild), before) and avatar.seen_weights is None


@torch.no_grad()
def test_networks_hear_of_nothing_far_beyond() -> None:
    avatar, params = tiny_dipguava(), tiny_tracking(tiny_head(), 3).params()
    own = avatar.condition(params) / avatar.condition_scale + avatar.condition_shift
    avatar.condition_range = torch.stack([own.amin(0), own.amax(0)])
    wild = replace(params, expression=params.expression + 50)
    before = avatar.condition(wild)
    avatar.hold(1.0)
    torch.testing.assert_close(avatar.condition(params), (own - avatar.condition_shift) * avatar.condition_scale)
    room = HEADROOM * (avatar.condition_range[1] - avatar.condition_range[0]) / 2
    held = avatar.condition(wild) / avatar.condition_scale + avatar.condition_shift
    assert (held <= avatar.condition_range[1] + room + 1e-5).all()
    assert all(part.isfinite().all() for part in avatar.drive(wild).tensors())
    avatar.hold(0.0)
    assert torch.equal(avatar.condition(wild), before)
