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
    crown = head.regions["scalp"][head.template[torch.from_numpy(head.regions["scalp"]), 1].argmax()]
    for picture, points in zip(pictures, pixels, strict=True):
        x, top = points[crown].astype(int)
        assert picture[top + 6 : top + 20, x - 8 : x + 8].mean() < 70, "dark hair over the crown"
        left, right = (points[head.regions[f"{side}_eyeball"]].mean(0) for side in ("left", "right"))
        assert left[0] > right[0], "mirrored"
        between = (0.5 * (left + right)).astype(int)
        skin = picture[between[1] + 20 : between[1] + 40, between[0] - 8 : between[0] + 8].mean((0, 1))
        assert skin[0] > skin[1] > skin[2] > 60, "a nose under the eyes"
    assert truth.head_source == "human" and truth.head_family == "human"
