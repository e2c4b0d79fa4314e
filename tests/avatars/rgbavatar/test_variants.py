# SPDX-License-Identifier: Apache-2.0
"""Avatars of the paper's ablations: a linear mapping, no blendshapes, world space; in memory and through the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.avatars.file import write_avatar
from blendsplat.avatars.rendering import render_performance
from blendsplat.avatars.rgbavatar.linear_mapping import linear_of, three_layers
from blendsplat.avatars.rgbavatar.model import SCHEMA, RGBAvatar
from blendsplat.avatars.rgbavatar.surface import joint_surface
from blendsplat.errors import FormatError, InputError
from blendsplat.geometry import quat_to_matrix, rotvec_to_matrix
from blendsplat.systems import load_avatar, read_avatar
from tiny_clip import tiny_avatar, tiny_camera, tiny_head, tiny_tracking

NAMES = ("means", "quats", "scales", "opacities", "colors")


def variant(**options) -> RGBAvatar:
    """tiny_avatar's Gaussians in an avatar of another make."""
    like = tiny_avatar(tiny_head())
    made = RGBAvatar(like.head, like.triangle, like.barycentrics, tiny_camera(), name="variant", **options)
    with torch.no_grad():
        for name in ("colors", "log_scales", "opacity_logits"):
            getattr(made, name).copy_(getattr(like, name))
        for name, scale in (("delta_positions", 2e-3), ("delta_quats", 0.05), ("delta_colors", 0.3)):
            getattr(made, name).normal_(0, scale)
    return made


def assert_same(first, second, **tolerance) -> None:
    for name in NAMES:
        torch.testing.assert_close(getattr(first, name), getattr(second, name), **tolerance)


def test_three_layers_are_the_linear_map_and_nothing_else_is_taken_for_one() -> None:
    weight, bias = torch.randn(5, 9), torch.randn(5)
    layers, x = three_layers(weight, bias), torch.randn(40, 9) * 10
    value = x
    for place, (w, b) in enumerate(layers):
        value = value @ w.T + b
        value = value.relu() if place < 2 else value
    torch.testing.assert_close(value, x @ weight.T + bias)
    found = linear_of(layers)
    assert found is not None and torch.equal(found[0], weight) and torch.equal(found[1], bias)
    for place in range(3):
        for part in range(2):
            spoiled = [list(layer) for layer in layers]
            spoiled[place][part] = spoiled[place][part] + 1e-6
            assert linear_of([(w, b) for w, b in spoiled]) is None, (place, part)
    other = [(torch.randn(7, 9), torch.randn(7)), (torch.randn(4, 7), torch.randn(4)), (torch.randn(5, 4), bias)]
    assert linear_of(other) is None


def test_a_linear_mapping_is_linear_and_comes_back_as_one(tmp_path: Path) -> None:
    avatar, params = variant(blendshapes=3, hidden=()), tiny_tracking(tiny_head(), 4).params()
    avatar.feature_shift.uniform_(-1, 1)
    avatar.feature_scale.uniform_(0.5, 3)
    features = avatar.features(params)
    mean = avatar.weights_of(features[[0, 1]].mean(0, keepdim=True))
    torch.testing.assert_close(mean, avatar.weights_of(features[[0, 1]]).mean(0, keepdim=True), atol=1e-5, rtol=1e-5)
    avatar.save(tmp_path / "a.avatar.npz")
    _, arrays = read_avatar(tmp_path / "a.avatar.npz")
    assert arrays["mlp.0.weight"].shape == (6, avatar.features(params).shape[1])
    assert arrays["mlp.2.weight"].shape == (3, 6)
    hidden = np.maximum(features.numpy() @ arrays["mlp.0.weight"].T + arrays["mlp.0.bias"], 0)  # as the add-on does it
    hidden = np.maximum(hidden @ arrays["mlp.1.weight"].T + arrays["mlp.1.bias"], 0)
    weights = hidden @ arrays["mlp.2.weight"].T + arrays["mlp.2.bias"]
    np.testing.assert_allclose(weights, avatar.weights_of(features).detach(), atol=1e-5)
    loaded = load_avatar(tmp_path / "a.avatar.npz")
    assert loaded.hidden == () and len(loaded.mlp) == 1
    assert_same(loaded.drive(params), avatar.drive(params), atol=1e-5, rtol=1e-5)
    assert loaded.keep(torch.arange(loaded.gaussian_count) % 2 == 0).hidden == ()


def test_no_blendshapes_are_the_base_through_the_file_in_every_way_to_play(tmp_path: Path) -> None:
    avatar, tracking = variant(blendshapes=0), tiny_tracking(tiny_head(), 5)
    params = tracking.params()
    want = avatar.gaussians(None, avatar.vertices(params))
    avatar.weight_range = torch.zeros(2, 0)
    avatar.halve_bases()
    avatar.save(tmp_path / "a.avatar.npz")
    meta, arrays = read_avatar(tmp_path / "a.avatar.npz")
    assert meta["blendshapes"] == 0 and arrays["delta_quats"].shape == (0, avatar.gaussian_count, 4)
    loaded = load_avatar(tmp_path / "a.avatar.npz")
    assert loaded.blendshape_count == 0 and loaded.weights(params).shape == (5, 0)
    for driven in (loaded.drive(params), loaded.drive(params, bounded=True), loaded.animation(5)(params)):
        for name in NAMES:
            have, expected = getattr(driven, name), getattr(want, name)
            torch.testing.assert_close(have.expand_as(expected), expected, atol=2e-6, rtol=1e-5)
    assert loaded.keep(torch.arange(loaded.gaussian_count) % 2 == 0).drive(params).means.shape[1] > 0


def test_joints_alone_carry_what_lies_in_world_space() -> None:
    """Expressions do not move it, a turn of the head moves it as a whole, and beside the surface too."""
    head = tiny_head()
    head.expression_directions *= 5
    avatar = variant(blendshapes=0, space="world")
    with torch.no_grad():
        avatar.positions.normal_(0, 0.02)
        avatar.quats.normal_()
    still = avatar.head.neutral()
    rest = avatar.drive(still)
    speaking = replace(still, expression=torch.full_like(still.expression, 2.0))
    assert_same(avatar.drive(speaking), rest)
    torch.testing.assert_close(
        rest.means[0], (avatar.head.template[avatar.corners] * avatar.barycentrics[..., None]).sum(1) + avatar.positions
    )  # the axes are the world's
    turn, shift = torch.tensor([[0.3, -0.6, 0.1]]), torch.tensor([[0.1, 0.2, 0.3]])
    moved, rotation = avatar.drive(replace(still, neck_pose=turn, translation=shift)), rotvec_to_matrix(turn)[0]
    torch.testing.assert_close(moved.means, rest.means @ rotation.T + shift, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(quat_to_matrix(moved.quats), rotation @ quat_to_matrix(rest.quats), atol=1e-5, rtol=1e-4)


def test_between_two_joints_a_triangle_is_turned_half_way() -> None:
    head = tiny_head().personalise(torch.zeros(2))
    head.skin_weights.zero_()
    head.skin_weights[:, 1:3] = 0.5
    params = replace(head.neutral(), jaw_pose=torch.tensor([[0.4, 0, 0]]))
    surface = joint_surface(head, params)
    frames = quat_to_matrix(surface.quats[0])
    torch.testing.assert_close(frames, rotvec_to_matrix(torch.tensor([0.2, 0, 0])).expand_as(frames))
    assert (surface.frames[0].det() < 0.999).all(), "blending shrinks, as linear blend skinning does"
    torch.testing.assert_close(surface.vertices[0], head(params)[0], atol=1e-6, rtol=1e-5)


def test_world_space_is_kept_in_the_file_and_plays_in_the_engine(tmp_path: Path) -> None:
    avatar, tracking = variant(blendshapes=2, space="world"), tiny_tracking(tiny_head(), 3)
    avatar.halve_bases()
    assert not avatar.halved
    avatar.save(tmp_path / "a.avatar.npz")
    loaded = load_avatar(tmp_path / "a.avatar.npz")
    assert loaded.space == "world" and loaded.keep(torch.ones(loaded.gaussian_count, dtype=torch.bool)).space == "world"
    assert_same(loaded.drive(tracking.params()), avatar.drive(tracking.params()), atol=1e-6, rtol=1e-5)
    pictures = [rgba for rgba, _ in render_performance(loaded, tracking, 32, 32)]
    assert len(pictures) == 3 and pictures[0][..., 3].max() > 0.5
    with pytest.raises(InputError, match=r"world space.*deformed mesh"):
        loaded.drive(tracking.params(), vertices=loaded.vertices(tracking.params()))
    with pytest.raises(InputError, match="world space"):
        loaded.gaussians(None, loaded.vertices(tracking.params()))
    with pytest.raises(InputError, match="performance has 5"):
        loaded.drive(tiny_tracking(tiny_head(expressions=5), 2).params())
    meta, arrays = read_avatar(tmp_path / "a.avatar.npz")
    for space in ("sphere", ["world"], None):
        write_avatar(tmp_path / "b.avatar.npz", SCHEMA, meta | {"space": space}, arrays)
        with pytest.raises(FormatError, match="update Blendsplat"):
            load_avatar(tmp_path / "b.avatar.npz")


def test_an_ordinary_avatar_says_nothing_of_its_space(tmp_path: Path) -> None:
    tiny_avatar(tiny_head()).save(tmp_path / "a.avatar.npz")
    assert "space" not in read_avatar(tmp_path / "a.avatar.npz")[0]
