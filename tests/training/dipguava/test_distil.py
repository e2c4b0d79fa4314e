# SPDX-License-Identifier: Apache-2.0
"""A DipGuava as blendshapes: what is linear comes back, what is not loses no more than was asked, and Blender's file
plays it."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from blendsplat.avatars.dipguava.carrier import carrier_of
from blendsplat.avatars.dipguava.model import DipGuava
from blendsplat.avatars.dipguava.network_set import GEOMETRY
from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.geometry import quat_to_matrix
from blendsplat.heads.model import HeadParams
from blendsplat.systems import load_avatar
from blendsplat.training.dipguava import distil
from blendsplat.training.dipguava.distil import (
    _family,
    _low_rank,
    _spread_rows,
    distilled,
)
from tiny_clip import tiny_head, tiny_tracking
from tiny_dipguava import own_head, tiny_dipguava


@pytest.fixture
def params() -> HeadParams:
    return tiny_tracking(tiny_head(), 24).params()


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that do not ask how well the MLP learned."""
    monkeypatch.setattr(distil, "MLP_STEPS", 30)


class Linear(nn.Module):
    """F_g made by hand: every texel moves along directions of its own, as far as the expression says."""

    def __init__(self, texels: int, inputs: int, expressions: int) -> None:
        super().__init__()
        directions = torch.zeros(inputs, texels, GEOMETRY)
        rng = torch.Generator().manual_seed(6)
        directions[:expressions, :, :3] = 0.15 * torch.randn(expressions, texels, 3, generator=rng)
        self.directions = nn.Parameter(directions)

    def forward(self, places: Tensor, condition: Tensor) -> Tensor:
        return torch.einsum("bd,dtc->btc", condition, self.directions)


def linear_dipguava() -> DipGuava:
    """On a head that only turns, with one colour for all frames: its Gaussians in the head's frames are linear in the
    expression, so three blendshapes are all there is."""
    head = own_head()
    still = replace(head, expression_directions=torch.zeros_like(head.expression_directions))
    avatar = tiny_dipguava(still, base="optimised", residual_appearance=False)
    avatar.geometry = Linear(len(avatar.texels.places), len(avatar.condition_shift), head.expression_count)
    return avatar


def movement(means: Tensor) -> float:
    """Root mean square of how far Gaussians go, over the frames."""
    return float((means - means.mean(0)).detach().square().sum(-1).mean().sqrt())


def test_what_is_linear_comes_back_in_its_own_frames(params: HeadParams) -> None:
    avatar = linear_dipguava()
    made = distilled(avatar, params, 20, 1e-3)
    assert made.blendshape_count == 3
    true, shown = avatar.drive(params), made.drive(params)
    # in the head's own place, where turning it does not count as movement
    moving = movement(avatar.drive(replace(params, neck_pose=torch.zeros(1, 3))).means)
    away = (shown.means - true.means).square().sum(-1).mean().sqrt()
    assert away < 0.05 * moving, "the MLP's part: it learned the frames' weights from their features"
    torch.testing.assert_close(shown.scales, true.scales, rtol=1e-4, atol=0)
    torch.testing.assert_close(shown.opacities, true.opacities.clamp(0.002, 0.98), atol=1e-4, rtol=0)
    torch.testing.assert_close(shown.colors, true.colors, atol=1e-4, rtol=0)
    torch.testing.assert_close(quat_to_matrix(shown.quats), quat_to_matrix(true.quats), atol=1e-3, rtol=0)
    exact = made.gaussians(_low_rank(_family(avatar, made, params), 3, 0)[1], made.vertices(params))
    torch.testing.assert_close(exact.means, true.means, atol=2e-6, rtol=0)


def reconstructed(avatar: DipGuava, params: HeadParams, most: int, error: float) -> tuple[float, int]:
    """(part of the movement left out as _low_rank weighs it, blendshapes): computed from what it gives."""
    with torch.no_grad():
        family = _family(avatar, carrier_of(avatar, 1), params)
        basis, weights = _low_rank(family, most, error)
    shown = family.opacities[:, None].sqrt()
    units = shown / family.log_scales.exp().amax(-1, keepdim=True), shown / 0.5, shown / (0.2 / 0.2820948)
    left = whole = 0.0
    for part, direction, unit in zip((family.positions, family.quats, family.colors), basis, units, strict=True):
        moved = part - part.mean(0)
        whole += float((moved * unit).double().square().sum())
        left += float(((moved - torch.einsum("mk,knc->mnc", weights, direction)) * unit).double().square().sum())
    return (left / whole) ** 0.5, len(basis[0])


def test_more_blendshapes_leave_out_less(params: HeadParams) -> None:
    avatar = tiny_dipguava()
    errors = [reconstructed(avatar, params, most, 0)[0] for most in (1, 2, 4, 8, 16, 23)]
    assert all(later < before for before, later in itertools.pairwise(errors)), errors
    assert errors[0] < 0.95 and errors[-1] < 1e-3, "as many as there are frames, but for their mean, are all of it"


@pytest.mark.parametrize("error", [0.5, 0.2, 0.05])
def test_no_more_than_the_error_is_left_out_and_no_blendshape_too_many(error: float, params: HeadParams) -> None:
    avatar = tiny_dipguava()
    left, count = reconstructed(avatar, params, 100, error)
    assert left <= error + 1e-4
    assert count == 1 or reconstructed(avatar, params, count - 1, 0)[0] > error
    assert reconstructed(avatar, params, 2, error)[1] <= 2, "never more than at most"


def test_the_basis_is_that_of_a_plain_svd(params: HeadParams) -> None:
    """Without weighing: one scale, one opacity, no turns and no colours that move."""
    avatar = linear_dipguava()
    with torch.no_grad():
        avatar.log_scales.fill_(-1)
        family = _family(avatar, carrier_of(avatar, 1), params)
    family.log_scales[:], family.opacities[:] = 0, 1
    family.quats, family.colors = family.quats[:1].expand(24, -1, -1), family.colors[:1].expand(24, -1, -1)
    basis, weights = _low_rank(family, 2, 0)
    moved = (family.positions - family.positions.mean(0)).flatten(1).double().numpy()
    u, s, v = np.linalg.svd(moved, full_matrices=False)
    found = np.einsum("mk,kn->mn", weights.numpy(), basis[0].flatten(1).numpy())
    np.testing.assert_allclose(found, (u[:, :2] * s[:2]) @ v[:2], atol=1e-5)
    torch.testing.assert_close(weights.square().mean(0), torch.ones(2), msg="weights are of the size of one")


def test_carriers_sit_on_the_same_triangles_and_follow_them(params: HeadParams) -> None:
    avatar = tiny_dipguava(per_face=2)
    made = distilled(avatar, params, 12, 0.0)
    assert torch.equal(made.triangle, avatar.triangle) and made.gaussian_count == avatar.gaussian_count
    assert made.blendshape_count == 12 and made.name == avatar.name and made.camera.width == avatar.camera.width
    inputs = made.standardised(made.features(params))
    assert float(inputs.mean(0).abs().max()) < 1e-4 and float(inputs.std(0).max()) < 3
    away = (made.drive(params).means - avatar.drive(params).means).detach().norm(dim=-1)
    assert float(away.mean()) < 2e-3, "of Gaussians as large as a centimetre"
    turned = replace(params, root_pose=torch.tensor([[0.2, 1.0, 0.0]]), translation=torch.tensor([[0.1, 0.2, -0.3]]))
    assert made.drive(turned).means.isfinite().all()


def test_it_draws_the_same_each_time_and_disturbs_nothing(quickly: None, params: HeadParams) -> None:
    avatar = tiny_dipguava()
    before = {name: value.clone() for name, value in avatar.state_dict().items()}
    first, second = (distilled(avatar, params, 3, 0.02).drive(params) for _ in range(2))
    assert torch.equal(first.means, second.means) and torch.equal(first.colors, second.colors)
    assert all(torch.equal(value, before[name]) for name, value in avatar.state_dict().items())


def test_a_long_clip_is_looked_at_in_parts(quickly: None, params: HeadParams, monkeypatch) -> None:
    monkeypatch.setattr(distil, "MOST_FRAMES", 5)
    rows = _spread_rows(24, 70, torch.device("cpu"))
    assert len(rows) == 5 and rows[0] == 0 and rows[-1] == 23
    assert distilled(tiny_dipguava(), params, 20, 0.0).blendshape_count == 4
    assert len(_spread_rows(24, 10**9, torch.device("cpu"))) == 2 and len(_spread_rows(1, 70, torch.device("cpu"))) == 1


@pytest.mark.parametrize("frames", [1, 2])
def test_hardly_any_frames_give_finite_blendshapes(quickly: None, frames: int, params: HeadParams) -> None:
    made = distilled(tiny_dipguava(), params[list(range(frames))], 20, 0.02)
    assert made.blendshape_count == 1
    assert all(value.isfinite().all() for value in made.drive(params, bounded=True).tensors())
    assert all(value.isfinite().all() for value in made.parameters())


def test_without_movement_nothing_moves(params: HeadParams) -> None:
    still = params[[3]]
    rows = {item.name: getattr(still, item.name).repeat_interleave(6, 0) for item in fields(still)}
    same = HeadParams(**rows | {"shape": still.shape})
    avatar = tiny_dipguava()
    made = distilled(avatar, same, 20, 0.02)
    assert float(made.delta_positions.detach().abs().max()) < 1e-5
    torch.testing.assert_close(made.drive(still).means, avatar.drive(still).means, atol=1e-5, rtol=0)


def test_a_triangle_without_area_does_no_harm(quickly: None, params: HeadParams) -> None:
    head = own_head()
    template = head.template.clone()
    template[head.faces[4]] = template[head.faces[4][0]].clone()
    avatar = tiny_dipguava(replace(head, template=template))
    made = distilled(avatar, params, 4, 0.0)
    assert all(value.isfinite().all() for value in (*made.parameters(), *made.drive(params).tensors()))


def test_quaternions_that_change_their_sign_do_not_move(params: HeadParams) -> None:
    """q and -q are one rotation: a network may go from one to the other between two frames."""

    class Flips(nn.Module):
        def forward(self, places: Tensor, condition: Tensor) -> Tensor:
            drawn = torch.zeros(len(condition), len(places), GEOMETRY)
            drawn[..., 6] = -2.0 * (condition[:, :1] > 0)
            return drawn

    avatar = linear_dipguava()
    with torch.no_grad():
        avatar.quats.copy_(torch.tensor([1.0, 0, 0, 0]))
    avatar.geometry = Flips()
    assert 0 < (avatar.condition(params)[:, 0] > 0).sum() < 24
    with torch.no_grad():
        quats = _family(avatar, carrier_of(avatar, 1), params).quats
    assert float((quats - quats[0]).abs().max()) < 1e-5


def test_the_file_plays_them(quickly: None, params: HeadParams, tmp_path: Path) -> None:
    avatar = tiny_dipguava()
    avatar.take_sliders(distilled(avatar, params, 6, 0.0))
    avatar.save(tmp_path / "a.avatar.npz")
    loaded = load_avatar(tmp_path / "a.avatar.npz")
    assert isinstance(loaded, DipGuava) and isinstance(loaded.sliders, RGBAvatar)
    for bounded in (False, True):
        before, after = (one.sliders.drive(params, bounded=bounded) for one in (avatar, loaded))
        for name in ("means", "quats", "scales", "opacities", "colors"):
            torch.testing.assert_close(getattr(after, name), getattr(before, name), atol=1e-4, rtol=1e-3)
    features = loaded.sliders.features(params)
    assert (features >= loaded.sliders.feature_range[0] - 1e-6).all()
    assert (features <= loaded.sliders.feature_range[1] + 1e-6).all()
