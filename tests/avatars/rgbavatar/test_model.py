# SPDX-License-Identifier: Apache-2.0
"""The avatar's module: blending, binding, features, gradients."""

from __future__ import annotations

import torch

from blendsplat.avatars.rgbavatar.features import feature_layout, frame_features
from blendsplat.geometry import quat_to_matrix, rotvec_to_matrix
from blendsplat.heads.model import HeadParams
from tiny_clip import tiny_avatar, tiny_head, tiny_tracking


def test_blending_equals_the_sum_over_blendshapes() -> None:
    avatar = tiny_avatar(tiny_head())
    weights = torch.randn(3, 3)
    vertices = avatar.head.template[None].expand(3, -1, -1)
    together = avatar.gaussians(weights, vertices)
    expected = torch.stack([avatar.colors + sum(w[k] * avatar.delta_colors[k] for k in range(3)) for w in weights])
    torch.testing.assert_close(together.colors, (0.28209479 * expected + 0.5).clamp_min(0), rtol=1e-5, atol=1e-6)
    base = avatar.gaussians(None, vertices)
    zero = avatar.gaussians(torch.zeros(3, 3), vertices)
    for name in ("means", "quats", "scales", "opacities", "colors"):
        torch.testing.assert_close(getattr(base, name), getattr(zero, name))


def test_gaussians_ride_rigidly_on_the_head() -> None:
    """Turning the whole head turns means and orientations, and nothing else."""
    avatar = tiny_avatar(tiny_head())
    rotation = rotvec_to_matrix(torch.tensor([0.3, -0.5, 0.2]))
    shift = torch.tensor([0.1, 0.2, -0.3])
    rest = avatar.head.template[None]
    weights = torch.randn(1, 3)
    still, turned = avatar.gaussians(weights, rest), avatar.gaussians(weights, rest @ rotation.T + shift)
    torch.testing.assert_close(turned.means, still.means @ rotation.T + shift, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        quat_to_matrix(turned.quats), rotation @ quat_to_matrix(still.quats), atol=1e-4, rtol=1e-3
    )
    torch.testing.assert_close(turned.colors, still.colors)


def test_features_have_the_papers_129_values_for_100_expressions() -> None:
    assert sum(size for _, size in feature_layout(tiny_head(expressions=100))) == 129


def test_features_read_the_head_rotation_as_root_times_neck() -> None:
    head = tiny_head()
    one, two = head.neutral(), head.neutral()
    one.root_pose[:], two.neck_pose[:] = 0.3, 0.3
    origin = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(frame_features(one, origin), frame_features(two, origin))
    assert (frame_features(one, origin)[0, -3:] == -origin).all()
    rows = frame_features(head.neutral(4), origin)
    identity = torch.tensor([1.0, 0, 0, 0, 1, 0])
    torch.testing.assert_close(rows[2, 3:9], identity)


def test_every_parameter_learns_through_a_frame() -> None:
    avatar = tiny_avatar(tiny_head())
    params: HeadParams = tiny_tracking(tiny_head(), 2).params()
    gaussians = avatar.drive(params)
    sum(
        v.sin().sum()
        for v in (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.colors)
    ).backward()
    for name, parameter in avatar.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_keep_is_the_same_avatar_with_fewer_gaussians() -> None:
    avatar = tiny_avatar(tiny_head())
    kept = torch.arange(avatar.gaussian_count) % 3 > 0
    params = tiny_tracking(tiny_head(), 2).params()
    torch.testing.assert_close(avatar.keep(kept).drive(params).means, avatar.drive(params).means[:, kept])


def test_halved_bases_give_the_gaussians_of_the_rounded_numbers() -> None:
    avatar, params = tiny_avatar(tiny_head()), tiny_tracking(tiny_head(), 5).params()
    with torch.no_grad():
        for name in ("delta_positions", "delta_quats", "delta_colors"):
            getattr(avatar, name).copy_(getattr(avatar, name).half().float())
        want = avatar.drive(params)
    avatar.halve_bases()
    assert avatar.halved and avatar.delta_quats.dtype == torch.float16
    for got in (avatar.drive(params), avatar.animation(5)(params)):
        for name in ("means", "quats", "scales", "opacities", "colors"):
            torch.testing.assert_close(
                getattr(got, name).expand_as(getattr(want, name)), getattr(want, name), rtol=1e-5, atol=2e-6
            )
    kept = avatar.keep(torch.arange(avatar.gaussian_count) % 3 == 0)
    assert kept.halved and torch.equal(kept.delta_colors, avatar.delta_colors[:, ::3])


def test_what_is_too_large_for_half_precision_stays_whole() -> None:
    avatar = tiny_avatar(tiny_head())
    with torch.no_grad():
        avatar.delta_colors[0, 0, 0] = 1e5
    avatar.halve_bases()
    assert not avatar.halved and avatar.delta_positions.dtype == torch.float32


def test_drives_of_halved_bases_do_not_share_their_memory() -> None:
    avatar, params = tiny_avatar(tiny_head()), tiny_tracking(tiny_head(), 2).params()
    avatar.halve_bases()
    first = avatar.drive(params[[0]])
    before = first.means.clone()
    avatar.drive(params[[1]])
    assert torch.equal(first.means, before)
