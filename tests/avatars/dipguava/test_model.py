# SPDX-License-Identifier: Apache-2.0
"""The avatar against the paper's equations, and every switch of its settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from blendsplat.avatars.dipguava.model import RESIDUAL_GAIN, Deformed, DipGuava, condition_size, raw_condition
from blendsplat.avatars.dipguava.network_set import APPEARANCE, GEOMETRY
from blendsplat.avatars.dipguava.settings import DipGuavaSettings
from blendsplat.avatars.dipguava.surface import sample
from blendsplat.errors import FormatError, InputError
from blendsplat.geometry import quat_to_matrix
from blendsplat.heads.model import HeadParams
from tiny_clip import tiny_avatar, tiny_camera, tiny_head, tiny_tracking
from tiny_dipguava import TINY, own_head, tiny_dipguava


@pytest.fixture
def params() -> HeadParams:
    return tiny_tracking(tiny_head(), 3).params()


class Drawn(nn.Module):
    """A network that draws what it is given: a map [1,C,S,S] as a U-Net does, or values [1,T,C] as the MLP does."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self, *inputs: Tensor | None) -> Tensor:
        return self.values


def parts(gaussians) -> dict[str, Tensor]:
    return {name: getattr(gaussians, name).detach() for name in ("means", "quats", "scales", "opacities", "colors")}


def assert_same(one, other, **tolerance: float) -> None:
    for name, value in parts(one).items():
        torch.testing.assert_close(
            parts(other)[name], value, msg=lambda text, name=name: f"{name}: {text}", **tolerance
        )


def test_gaussians_are_bound_as_equation_1_says(params: HeadParams) -> None:
    avatar = tiny_dipguava(per_face=2)
    inputs = avatar.inputs(params)
    rng = torch.Generator().manual_seed(3)
    n = avatar.gaussian_count
    local = Deformed(
        torch.randn(3, n, 3, generator=rng), torch.randn(1, n, 3, generator=rng), torch.randn(3, n, 4, generator=rng)
    )
    colors, opacities = torch.rand(3, n, 3, generator=rng), torch.rand(3, n, generator=rng)
    bound = parts(avatar.bound(local, inputs.frames, colors, opacities))
    vertices = avatar.vertices(params).numpy().astype(np.float64)
    for b in range(3):
        for i in range(n):
            p, q, r = vertices[b, avatar.head.faces[avatar.triangle[i]]]
            x, normal = (q - p) / np.linalg.norm(q - p), np.cross(q - p, r - p)
            normal /= np.linalg.norm(normal)
            turn = np.stack([x, normal, np.cross(x, normal)], 1)
            k = np.mean([np.linalg.norm(q - p), np.linalg.norm(r - q), np.linalg.norm(p - r)])
            mean = k * turn @ local.positions[b, i].numpy() + (p + q + r) / 3
            np.testing.assert_allclose(bound["means"][b, i], mean, atol=1e-6)
            np.testing.assert_allclose(bound["scales"][b, i], k * np.exp(local.log_scales[0, i]), rtol=1e-5)
            whole = turn @ quat_to_matrix(local.quats[b, i]).numpy()
            np.testing.assert_allclose(quat_to_matrix(bound["quats"][b, i]), whole, atol=1e-5)
    assert torch.equal(bound["colors"], colors) and torch.equal(bound["opacities"], opacities)


def test_before_training_a_gaussian_is_its_triangle(params: HeadParams) -> None:
    """The paper's start: mu_l = 0, r_l = identity, s_l = 1."""
    head = own_head()
    avatar = DipGuava(head, torch.arange(len(head.faces)), tiny_camera(), DipGuavaSettings.model_validate(TINY))
    frames, got = avatar.inputs(params).frames, parts(avatar.drive(params))
    torch.testing.assert_close(got["means"], frames.centroids)
    torch.testing.assert_close(got["scales"], frames.sizes[..., None].expand(-1, -1, 3))
    torch.testing.assert_close(got["quats"], frames.quats)


@pytest.mark.parametrize("backbone", ["unet", "mlp"])
@pytest.mark.parametrize("base", ["normals", "optimised"])
def test_stage_2_begins_exactly_where_stage_1_ends(backbone: str, base: str, params: HeadParams) -> None:
    avatar = tiny_dipguava(started=True, backbone=backbone, base=base)
    avatar.stage = 1
    first = parts(avatar.drive(params))
    avatar.stage = 2
    for name, value in parts(avatar.drive(params)).items():
        assert torch.equal(value, first[name]), name


def test_stage_1_knows_no_residual(params: HeadParams) -> None:
    avatar, untouched = tiny_dipguava(), parts(tiny_dipguava(started=True).drive(params))
    avatar.base.load_state_dict(tiny_dipguava(started=True).base.state_dict())
    avatar.stage = 1
    for name, value in parts(avatar.drive(params)).items():
        assert torch.equal(value, untouched[name]), name


@pytest.mark.parametrize("fusion", [True, False])
def test_the_residual_is_looked_up_where_the_gaussian_went_and_the_base_where_it_was(
    fusion: bool, params: HeadParams
) -> None:
    """Equations 6 to 8, with maps and movements that are given."""
    avatar, rng = tiny_dipguava(fusion=fusion), torch.Generator().manual_seed(1)
    base, residual = torch.randn(2, 1, APPEARANCE, 16, 16, generator=rng)
    moved = torch.zeros(1, len(avatar.texels.places), GEOMETRY)
    moved[..., :] = torch.tensor([0.8, -0.2, 0.5, 0.1, 0.2, 0.3, 0, 0.4, 0, 0])
    avatar.base, avatar.residual, avatar.geometry = Drawn(base), Drawn(residual), Drawn(moved)
    got = parts(avatar.drive(params))
    there = avatar.positions[None] + moved[:, :1, :3]
    uv, uv_there = (avatar.charts.uv(avatar.triangle, place) for place in (avatar.positions[None], there))
    assert (uv - uv_there).norm(dim=-1).min() > 0.02, "otherwise nothing is tested"
    total = sample(base, uv) + sample(residual, uv_there if fusion else uv)
    torch.testing.assert_close(got["colors"][1], total[0, :, :3].sigmoid().detach())
    torch.testing.assert_close(got["opacities"][1], total[0, :, 3].sigmoid().detach())
    local = Deformed(there, avatar.log_scales[None] + moved[:, :1, 3:6], avatar.quats[None] + moved[:, :1, 6:])
    bound = avatar.bound(
        local, avatar.inputs(params).frames, *(torch.zeros(3, avatar.gaussian_count, *c) for c in ((3,), ()))
    )
    for name in ("means", "quats", "scales"):
        torch.testing.assert_close(got[name], getattr(bound, name).detach())


def test_the_geometry_is_read_where_the_gaussian_rests(params: HeadParams) -> None:
    """A map that differs from texel to texel: what a Gaussian takes of it is a bilinear sample at UV(mu_l)."""
    avatar = tiny_dipguava()
    values = torch.randn(1, len(avatar.texels.places), GEOMETRY, generator=torch.Generator().manual_seed(2))
    avatar.geometry = Drawn(values)
    uv = avatar.charts.uv(avatar.triangle, avatar.positions[None])
    moved = sample(avatar.texels.grown(values), uv)
    local = avatar.deformed(avatar.inputs(params))
    torch.testing.assert_close(local.positions, avatar.positions + moved[..., :3])
    torch.testing.assert_close(local.log_scales, avatar.log_scales + moved[..., 3:6])
    torch.testing.assert_close(local.quats, avatar.quats + moved[..., 6:])


def test_beside_the_islands_a_map_goes_on(params: HeadParams) -> None:
    """A Gaussian that hangs over the mesh's edge does not fade into zeros around the island."""
    avatar = tiny_dipguava()
    avatar.geometry = Drawn(torch.full((1, len(avatar.texels.places), GEOMETRY), 0.25))
    with torch.no_grad():
        avatar.positions.mul_(20)
    local = avatar.deformed(avatar.inputs(params))
    torch.testing.assert_close(local.positions, avatar.positions[None] + 0.25)


SWITCHES = [
    {}, {"base": "optimised"}, {"base": "none"}, {"backbone": "mlp"}, {"backbone": "mlp", "base": "none"},
    {"backbone": "mlp", "base": "optimised"}, {"residual_appearance": False}, {"residual_geometry": False},
    {"residual_appearance": False, "residual_geometry": False}, {"base": "none", "residual_geometry": False},
    {"fusion": False}, {"moving_uv": False}, {"mlp_layers": 2}, {"uv_size": 32}, {"frequencies": 0},
    {"residual_maps": 3}, {"residual_maps": 3, "residual_geometry": False, "base": "none"}, {"condition_place": True},
    {"residual_maps": 2, "residual_appearance": False, "condition_place": True},
]  # fmt: skip


@pytest.mark.parametrize("settings", SWITCHES, ids=str)
def test_every_switch_drives(settings: dict, params: HeadParams) -> None:
    avatar = tiny_dipguava(per_face=2, **settings)
    n, together = avatar.gaussian_count, parts(avatar.drive(params))
    for name, size in (("means", 3), ("quats", 4), ("scales", 3), ("colors", 3)):
        assert together[name].shape == (3, n, size) and together[name].isfinite().all()
    assert together["opacities"].shape == (3, n) and together["scales"].min() > 0
    assert together["colors"].min() >= 0 and together["colors"].max() <= 1
    for row in range(3):
        for name, value in parts(avatar.drive(params[[row]])).items():
            torch.testing.assert_close(value[0], together[name][row], atol=1e-5, rtol=1e-4)
    whole = DipGuavaSettings.model_validate(TINY | settings)
    has = {"base": whole.base != "none", "residual": whole.residual_appearance, "geometry": whole.residual_geometry}
    has |= {f"{name}_maps": has[name] and whole.residual_maps > 0 for name in ("residual", "geometry")}
    assert list(avatar.networks()) == [name for name, there in has.items() if there]
    moves = torch.std(avatar.deformed(avatar.inputs(params)).positions, 0).max() if whole.residual_geometry else 0
    assert bool(moves > 0) == whole.residual_geometry
    animated = parts(avatar.animation(3)(params))
    assert all(torch.equal(animated[name], value) for name, value in together.items())


def test_fixed_uv_ignores_where_the_gaussian_is(params: HeadParams) -> None:
    avatar = tiny_dipguava(moving_uv=False)
    moved = [avatar.deformed(avatar.inputs(params)).positions - avatar.positions]
    before = parts(avatar.drive(params))
    with torch.no_grad():
        avatar.positions.add_(0.5)
    after = parts(avatar.drive(params))
    moved.append(avatar.deformed(avatar.inputs(params)).positions - avatar.positions)
    assert torch.equal(before["colors"], after["colors"]) and not torch.equal(before["means"], after["means"])
    torch.testing.assert_close(moved[0], moved[1], atol=1e-5, rtol=1e-4)


def test_an_optimised_base_is_the_same_in_every_frame(params: HeadParams) -> None:
    colors = parts(tiny_dipguava(base="optimised", residual_appearance=False, residual_geometry=False).drive(params))[
        "colors"
    ]
    assert torch.equal(colors[0], colors[1]) and torch.equal(colors[0], colors[2])


def test_the_base_follows_the_normals_and_not_the_condition(params: HeadParams) -> None:
    """Turned towards the camera differently, the same face has other base colours; its eyes change them not."""
    avatar = tiny_dipguava()
    looking = replace(params, eyes_pose=torch.ones(3, 2, 3), jaw_pose=torch.ones(3, 3))
    base = parts(avatar.drive(params, shown="base"))
    turned = parts(avatar.drive(replace(params, root_pose=torch.tensor([[0.0, 0.4, 0]])), shown="base"))
    assert torch.equal(parts(avatar.drive(looking, shown="base"))["colors"], base["colors"])
    assert not torch.equal(parts(avatar.drive(looking))["colors"], parts(avatar.drive(params))["colors"])
    assert (turned["colors"] - base["colors"]).abs().max() > 1e-3


def test_the_base_and_the_residual_can_be_looked_at(params: HeadParams) -> None:
    avatar = tiny_dipguava()
    avatar.stage = 1
    first = parts(avatar.drive(params))
    avatar.stage = 2
    full, base = parts(avatar.drive(params)), parts(avatar.drive(params, shown="base"))
    for name, value in base.items():
        assert torch.equal(value, first[name]), f"{name} of the base is stage 1's"
    residual = parts(avatar.drive(params, shown="residual"))
    for name in ("means", "quats", "scales", "opacities"):
        assert torch.equal(residual[name], full[name])
    torch.testing.assert_close(
        residual["colors"], (0.5 + RESIDUAL_GAIN * (full["colors"] - base["colors"])).clamp(0, 1)
    )
    untouched = tiny_dipguava(started=True)
    assert torch.equal(parts(untouched.drive(params, shown="residual"))["colors"], torch.full_like(full["colors"], 0.5))


def test_the_condition_is_standardised_and_bounded_by_what_training_saw(params: HeadParams) -> None:
    avatar = tiny_dipguava()
    raw = torch.cat(
        [params.expression, params.jaw_pose, params.eyes_pose.flatten(1), params.neck_pose, params.eyelids], 1
    )
    assert torch.equal(raw_condition(params, avatar.settings), raw) and raw.shape[1] == condition_size(
        avatar.head, avatar.settings
    )
    wanted = (raw - avatar.condition_shift) * avatar.condition_scale
    torch.testing.assert_close(avatar.condition(params), wanted)
    wild = replace(params, expression=100 * params.expression, eyelids=params.eyelids - 50)
    far = avatar.condition(wild, bounded=True)
    within = raw_condition(wild, avatar.settings).clamp(-1, 1)
    torch.testing.assert_close(far, (within - avatar.condition_shift) * avatar.condition_scale)
    assert_same(avatar.drive(wild, bounded=True), avatar.gaussians(avatar.inputs(wild, bounded=True)))
    assert torch.equal(avatar.condition(params, bounded=True), avatar.condition(params)), "what was seen stays"


def test_without_a_range_nothing_is_held_back(params: HeadParams) -> None:
    head = own_head()
    avatar = DipGuava(head, torch.arange(len(head.faces)), tiny_camera(), DipGuavaSettings.model_validate(TINY))
    wild = replace(params, expression=100 * params.expression)
    assert torch.equal(avatar.condition(wild, bounded=True), avatar.condition(wild))


def test_shape_of_the_performer_does_not_leak(params: HeadParams) -> None:
    avatar = tiny_dipguava()
    assert_same(avatar.drive(params), avatar.drive(replace(params, shape=params.shape + 3)), rtol=0, atol=0)


def test_another_head_is_refused() -> None:
    with pytest.raises(InputError, match="performance has 5"):
        tiny_dipguava().drive(tiny_tracking(tiny_head(expressions=5), 2).params())


def test_half_as_precise_networks_give_nearly_the_same(params: HeadParams) -> None:
    avatar = tiny_dipguava()
    exact = parts(avatar.drive(params))
    avatar.mixed_precision = True
    mixed = parts(avatar.drive(params))
    assert all(value.dtype == torch.float32 for value in mixed.values())
    for name in ("colors", "opacities"):
        away = (mixed[name] - exact[name]).abs()
        assert away.max() > 0 and away.mean() < 0.02, name


def test_every_parameter_that_takes_part_gets_a_gradient(params: HeadParams) -> None:
    avatar = tiny_dipguava()
    sum(value.square().sum() for value in vars(avatar.drive(params)).values()).backward()
    missing = [name for name, value in avatar.named_parameters() if value.grad is None or not value.grad.any()]
    assert not missing, missing


def test_with_geometry_shares_networks_and_has_its_own_gaussians(params: HeadParams) -> None:
    avatar = tiny_dipguava()
    values = {name: getattr(avatar, name)[:5] for name in ("positions", "log_scales", "quats")}
    avatar.take_sliders(sliders_for(avatar))
    other = avatar.with_geometry(avatar.triangle[:5], values)
    assert other.base is avatar.base and other.gaussian_count == 5 and avatar.gaussian_count > 5
    assert other.sliders is None, "blendshapes of other Gaussians"
    before = parts(avatar.drive(params))
    for name, value in parts(other.drive(params)).items():
        torch.testing.assert_close(value, before[name][:, :5])
    with torch.no_grad():
        other.positions.zero_()
    other.condition_range = torch.zeros_like(other.condition_range)
    assert torch.equal(parts(avatar.drive(params))["means"], before["means"]) and avatar.condition_range.any()


def sliders_for(avatar: DipGuava):
    made = tiny_avatar(tiny_head(), resolution=12)
    return made.rearranged(torch.zeros(avatar.gaussian_count, dtype=torch.long))


def test_sliders_of_another_number_of_gaussians_are_refused() -> None:
    avatar = tiny_dipguava()
    with pytest.raises(ValueError, match="70"):
        avatar.take_sliders(tiny_avatar(tiny_head(), resolution=3))


def test_sliders_are_no_part_of_the_module() -> None:
    avatar = tiny_dipguava()
    names = set(dict(avatar.named_parameters()))
    avatar.take_sliders(sliders_for(avatar))
    assert set(dict(avatar.named_parameters())) == names and avatar.sliders is not None


def test_moving_to_a_device_carries_everything_along() -> None:
    avatar = tiny_dipguava().to("meta")
    charts = [value for value in vars(avatar.charts).values() if isinstance(value, Tensor)]
    held = [*avatar.parameters(), *avatar.buffers(), *charts, avatar.camera.K]
    assert all(value.is_meta for value in [*held, avatar.texels.places, avatar.head.template, avatar.head.faces])


@pytest.mark.parametrize(
    "change",
    [
        {"uv_size": 24}, {"uv_size": "16"}, {"base": "random"}, {"depth": 3}, {"fusion": 1}, {"mlp_layers": 1},
        {"base": "none", "residual_appearance": False},
    ],
    ids=str,
)  # fmt: skip
def test_headers_that_this_version_lacks_are_refused(change: dict) -> None:
    with pytest.raises(FormatError, match="update it, or train again"):
        DipGuavaSettings.from_header(TINY | change)
