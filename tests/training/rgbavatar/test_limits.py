# SPDX-License-Identifier: Apache-2.0
"""Gaussians stay within the preset's limits, skin's and hair's apart, whatever the pictures ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blendsplat.avatars.rgbavatar.model import RGBAvatar
from blendsplat.errors import InputError
from blendsplat.systems import make_preset
from blendsplat.training.rgbavatar.limits import Limits
from small_training import trained
from tiny_clip import tiny_camera, tiny_head


def preset_with(**changes: Any) -> Any:
    return make_preset({"system": "rgbavatar", **changes})


def test_a_training_keeps_them(tiny_clip: Path) -> None:
    limits = {"hair_distance": 0.002, "hair_scale": 0.004}
    free, held = trained(tiny_clip).avatar, trained(tiny_clip, **limits).avatar
    assert float(free.positions.detach().norm(dim=1).max()) > 0.002
    assert float(free.log_scales.detach().exp().max()) > 0.004
    assert float(held.positions.detach().norm(dim=1).max()) <= 0.002 * (1 + 1e-5)
    assert float(held.log_scales.detach().exp().max()) <= 0.004 * (1 + 1e-5)


def test_face_and_hair_have_their_own() -> None:
    head = tiny_head()
    right = np.flatnonzero(head.template[:, 0].numpy() > 0)
    head.regions = {"face": np.arange(head.vertex_count), "scalp": right}
    avatar = RGBAvatar.on_head(head, 12, tiny_camera())
    with torch.no_grad():
        avatar.positions.fill_(1.0)
        avatar.log_scales.fill_(0.0)
    limits = Limits.of(avatar, preset_with(skin_distance=0.01, hair_distance=0.05, skin_scale=0.002, hair_scale=0.02))
    assert limits is not None
    limits.keep()
    distances, scales = avatar.positions.norm(dim=1), avatar.log_scales.exp()
    on_right = (head.template[avatar.corners][..., 0] > 0).float().mean(1) > 0.5
    assert torch.allclose(distances[on_right], torch.tensor(0.05)) and torch.allclose(
        scales[on_right], torch.tensor(0.02)
    )
    assert torch.allclose(distances[~on_right], torch.tensor(0.01))
    assert torch.allclose(scales[~on_right], torch.tensor(0.002))


def test_a_direction_is_kept_and_what_is_inside_is_left_alone() -> None:
    avatar = RGBAvatar.on_head(tiny_head(), 8, tiny_camera())
    with torch.no_grad():
        avatar.positions.copy_(torch.tensor([0.0, 0.03, -0.04]))
        avatar.positions[0] = torch.tensor([0.001, 0.0, 0.0])
        avatar.positions[1] = 0
    limits = Limits.of(avatar, preset_with(hair_distance=0.005))
    assert limits is not None
    limits.keep()
    assert torch.allclose(avatar.positions[2:], torch.tensor([0.0, 0.003, -0.004]).expand(len(avatar.positions) - 2, 3))
    assert torch.equal(avatar.positions[0], torch.tensor([0.001, 0.0, 0.0]))
    assert torch.equal(avatar.positions[1], torch.zeros(3))


def test_none_is_none() -> None:
    assert Limits.of(RGBAvatar.on_head(tiny_head(), 8, tiny_camera()), preset_with()) is None


@pytest.mark.parametrize("key", ["skin_distance", "hair_distance", "fill_images"])
def test_gaussians_that_lie_on_no_surface_have_none(key: str) -> None:
    with pytest.raises(InputError, match=f'{key} needs space = "tangent"'):
        preset_with(space="world", **{key: 1})
