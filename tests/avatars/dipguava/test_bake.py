# SPDX-License-Identifier: Apache-2.0
"""A bake against the networks: with shapes enough it is exact in everything, and it says what it leaves out."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from blendsplat.avatars.dipguava import bake
from blendsplat.avatars.dipguava.bake import Baked, baked, compared_rows, picture_scores
from blendsplat.avatars.dipguava.carrier import Carried, DrivenHeads, bound, carried, carrier_of
from blendsplat.avatars.dipguava.model import DipGuava
from blendsplat.errors import Cancelled
from blendsplat.geometry import quat_to_matrix
from blendsplat.progress import Progress
from tiny_clip import tiny_head, tiny_tracking
from tiny_dipguava import tiny_dipguava

FRAMES = 24


@pytest.fixture
def avatar() -> DipGuava:
    return tiny_dipguava(per_face=2)


@pytest.fixture(params=["parameters", "vertices"])
def heads(request: pytest.FixtureRequest, avatar: DipGuava) -> DrivenHeads:
    """As parameters, and as a head that was deformed otherwise and is held back."""
    params = tiny_tracking(tiny_head(), FRAMES).params()
    if request.param == "parameters":
        return DrivenHeads(params)
    wide = replace(params, expression=3 * params.expression)
    vertices = avatar.vertices(wide) * torch.tensor([1.1, 0.9, 1.0]) + torch.tensor([0.05, 0.0, 0.02])
    return DrivenHeads(wide, vertices, True)


def played(made: Baked, avatar: DipGuava, heads: DrivenHeads, row: int):
    one = heads[[row]]
    vertices = avatar.vertices(one.params) if one.vertices is None else one.vertices
    return bound(made.frame(row), made.carrier, vertices)


@torch.no_grad()
def test_with_shapes_enough_every_frame_is_the_networks_own(avatar: DipGuava, heads: DrivenHeads) -> None:
    made = baked(avatar, heads, 100, 0.0, Progress())
    assert made.error < 1e-3 and made.weights.shape == (FRAMES, FRAMES - 1)
    for row in range(FRAMES):
        one = heads[[row]]
        have = played(made, avatar, heads, row)
        want = avatar.drive(one.params, bounded=heads.bounded, vertices=one.vertices)
        torch.testing.assert_close(have.means, want.means, atol=2e-5, rtol=0)
        torch.testing.assert_close(have.scales, want.scales, atol=1e-6, rtol=2e-3)
        torch.testing.assert_close(have.opacities, want.opacities, atol=1e-3, rtol=0)
        torch.testing.assert_close(have.colors, want.colors, atol=1e-3, rtol=0)
        torch.testing.assert_close(quat_to_matrix(have.quats), quat_to_matrix(want.quats), atol=5e-3, rtol=0)
    means = heads.driving(avatar).opacities
    assert float((means - means.mean(0)).abs().max()) > 0.05, "opacities move, as the sliders' do not"


def test_what_is_left_out_is_what_is_said(avatar: DipGuava, heads: DrivenHeads) -> None:
    """error and errors, recomputed from what the bake gives."""
    made = baked(avatar, heads, 4, 0.0, Progress())
    true = carried(avatar, carrier_of(avatar, 1), heads)
    size = true.log_scales.mean(0).exp().amax(-1, keepdim=True)
    seen = true.opacities.mean(0).sqrt()
    units = seen / size, seen / 0.3, seen / 0.5, 5.0, seen / (0.2 / 0.28209479)
    left, whole = torch.zeros(FRAMES), torch.zeros(FRAMES)
    for row in range(FRAMES):
        for mine, part, unit in zip(made.frame(row).parts, true.parts, units, strict=True):
            left[row] += ((mine[0] - part[row]) * unit).square().sum()
            whole[row] += ((part[row] - part.mean(0)) * unit).square().sum()
    assert made.error == pytest.approx(float((left.sum() / whole.sum()).sqrt()), rel=1e-3)
    torch.testing.assert_close(made.errors, (left / whole.mean()).sqrt(), rtol=1e-3, atol=1e-4)
    assert int(left.argmax()) in compared_rows(made, 2) and len(compared_rows(made, 99)) == FRAMES


def test_more_shapes_are_nearer_and_no_more_are_made_than_the_error_asks_for(
    avatar: DipGuava, heads: DrivenHeads
) -> None:
    several = [baked(avatar, heads, most, 0.0, Progress()) for most in (1, 3, 9, 23)]
    errors = [made.error for made in several]
    scores = [sum(picture_scores(avatar, made, heads, [2, 11, 20], Progress())) / 3 for made in several]
    assert all(later < before for before, later in itertools.pairwise(errors)), errors
    assert all(later > before for before, later in itertools.pairwise(scores)), scores
    assert scores[-1] > 50 > scores[0]
    made = baked(avatar, heads, 100, 0.2, Progress())
    count = made.weights.shape[1]
    assert made.error <= 0.2 + 1e-4 and baked(avatar, heads, count - 1, 0.0, Progress()).error > 0.2


def test_weights_reach_one(avatar: DipGuava, heads: DrivenHeads) -> None:
    made = baked(avatar, heads, 5, 0.0, Progress())
    torch.testing.assert_close(made.weights.abs().amax(0), torch.ones(5))


def test_a_long_take_is_fitted_with_the_directions_of_some_frames(
    avatar: DipGuava, heads: DrivenHeads, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = baked(avatar, heads, 8, 0.0, Progress())
    monkeypatch.setattr(bake, "MOST_FRAMES", 12)
    made = baked(avatar, heads, 8, 0.0, Progress())
    assert made.weights.shape == (FRAMES, 8)
    assert exact.error < made.error < 2 * exact.error
    # the nearest weights: any other leave out more
    row, true = 7, carried(avatar, made.carrier, heads[[7]], like=made.mean.quats[0])
    size, seen = true.log_scales[0].exp().amax(-1, keepdim=True), true.opacities[0].sqrt()

    def away(weights: torch.Tensor) -> float:
        moved = replace(made, weights=weights.expand(FRAMES, -1)).frame(row)
        pairs = zip(moved.parts, true.parts, (1 / size, 1 / 0.3, 2.0, 5.0, 1.4), strict=True)
        return float(sum((((mine - part)[0] * unit * seen).square().sum()) for mine, part, unit in pairs))

    best = away(made.weights[row])
    assert away(torch.zeros(8)) > best and away(0.5 * made.weights[row]) > best and away(1.5 * made.weights[row]) > best


def test_one_frame_is_its_own_mean(avatar: DipGuava, heads: DrivenHeads) -> None:
    made = baked(avatar, heads[[3]], 40, 0.01, Progress())
    assert made.weights.shape == (1, 1) and made.error == 0
    assert all(bool(part.isfinite().all()) for part in (*made.mean.parts, *made.basis.parts))
    assert picture_scores(avatar, made, heads[[3]], [0], Progress())[0] > 60


def test_opacities_beyond_their_range_are_cut_as_blender_cuts_them(avatar: DipGuava, heads: DrivenHeads) -> None:
    frame = carried(avatar, carrier_of(avatar, 1), heads[[0]])
    far = Carried(*(part.clone() for part in frame.parts))
    far.opacities[0, 0], far.opacities[0, 1] = 1.5, -0.2
    vertices = avatar.vertices(heads[[0]].params)
    assert bound(far, carrier_of(avatar, 1), vertices).opacities[0, :2].tolist() == [1.0, 0.0]


def test_it_can_be_cancelled(avatar: DipGuava, heads: DrivenHeads) -> None:
    class Impatient(Progress):
        def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
            self.cancelled = stage == "drawing" and done == 3

    with pytest.raises(Cancelled):
        baked(avatar, heads, 5, 0.0, Impatient())
