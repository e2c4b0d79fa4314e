# SPDX-License-Identifier: Apache-2.0
"""Avatars of the head of earlier versions, which is made no more: they carry their rig, open, and play as they did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from blendsplat.avatars.rendering import render_performance
from blendsplat.heads.performance import Performance, same_head
from blendsplat.systems import describe_avatar, load_avatar

EARLIER = Path(__file__).parents[1] / "support" / "earlier_head"
AVATAR, TRACKING, PICTURES = (EARLIER / name for name in ("earlier.avatar.npz", "tracking.npz", "pictures.png"))


def test_it_opens_and_says_whose_head_it_is() -> None:
    avatar = load_avatar(AVATAR)
    assert (avatar.head.family, avatar.head.vertex_count, avatar.head.expression_count) == ("builtin", 6430, 57)
    assert describe_avatar(AVATAR)["head"] == "builtin"


def test_its_own_performance_still_plays_as_it_did() -> None:
    avatar, performance = load_avatar(AVATAR), Performance.load(TRACKING)
    assert same_head(avatar.head, performance)
    with Image.open(PICTURES) as opened:
        before = np.asarray(opened, float) / 255
    frames = [rgba[..., :3] for rgba, _ in render_performance(avatar, performance, 96, 96)]
    assert len(frames) == 3
    now = np.concatenate(frames, 1).clip(0, 1)
    assert np.abs(now - before).max() < 0.01
    assert np.abs(before[:, :96] - before[:, 96:192]).max() > 0.1, "the frames differ, so the performance counts"


def test_it_is_written_and_read_again(tmp_path: Path) -> None:
    avatar = load_avatar(AVATAR)
    avatar.save(tmp_path / "again.avatar.npz")
    params = Performance.load(TRACKING).params()
    before, after = (one.drive(params).detach().means for one in (avatar, load_avatar(tmp_path / "again.avatar.npz")))
    np.testing.assert_allclose(after.numpy(), before.numpy(), atol=1e-6)
