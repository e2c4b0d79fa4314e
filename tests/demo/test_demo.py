# SPDX-License-Identifier: Apache-2.0
"""The demo's performance and clip: lively, within limits, and true to the parameters handed out as the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blendsplat.geometry import project_points
from blendsplat.heads.human import human_head
from blendsplat.synthetic.clip import FPS, SIZE, make_clip
from blendsplat.synthetic.performance import VISEMES, talking_performance
from blendsplat.video.decode import VideoFile


@pytest.fixture(scope="module")
def head():
    return human_head()


def test_every_name_that_the_performance_uses_exists(head):
    names = {name for _, shapes in VISEMES for name in shapes}
    assert names <= set(head.expression_names)


def test_a_lively_performance_within_limits(head):
    params = talking_performance(head, 200, FPS)
    assert params.expression.min() >= 0 and params.expression.max() <= 1
    moved = (params.expression.amax(0) > 0.2).sum()
    assert moved >= 15, "the clip would teach an avatar too little"
    yaw = torch.rad2deg(params.neck_pose[:, 1])
    assert yaw.max() > 15 and yaw.min() < -15 and yaw.abs().max() < 30
    blink = params.expression[:, head.expression_names.index("eyeBlinkLeft")]
    assert 2 <= ((blink[1:] > 0.5) & (blink[:-1] <= 0.5)).sum() <= 8
    step = np.degrees((params.neck_pose[1:] - params.neck_pose[:-1]).norm(dim=-1).max().item())
    assert step < 4, "a head does not jump"


def test_the_same_seed_is_the_same_performance(head):
    again = [talking_performance(head, 30, FPS, seed=5).expression for _ in range(2)]
    torch.testing.assert_close(*again, rtol=0, atol=0)
    assert not torch.equal(again[0], talking_performance(head, 30, FPS, seed=6).expression)


def test_the_clip_shows_what_the_truth_says(head, tmp_path):
    truth = make_clip(tmp_path / "clip.mp4", frames=2)
    pictures = [frame.image for frame in VideoFile(tmp_path / "clip.mp4").frames()]
    assert len(pictures) == 2 and pictures[0].shape == (SIZE, SIZE, 3)
    params = truth.params()
    viewmats = torch.as_tensor(truth.viewmat).expand(2, 4, 4)
    pixels = project_points(head(params), viewmats, torch.as_tensor(truth.K).expand(2, 3, 3)).numpy()
    for picture, points in zip(pictures, pixels, strict=True):
        x, top = points[points[:, 1].argmin()].astype(int)
        assert picture[top + 12, x].mean() < 90 < picture[top - 12, x].mean(), (
            "dark hair below the crown, the wall above"
        )
        assert points[head.regions["left_eyeball"], 0].mean() > points[head.regions["right_eyeball"], 0].mean(), (
            "mirrored"
        )
