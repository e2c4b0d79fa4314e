# SPDX-License-Identifier: Apache-2.0
"""A face that trembles is told from one that is merely soft, and a cut from a tremble."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blendsplat.evaluation.steadiness import Steadiness, still_moments
from tiny_clip import tiny_avatar, tiny_camera, tiny_head, tiny_tracking

SHAPE = (8, 8, 3)
ALL = torch.ones(8, 8, 1)


def walk(renders: list[torch.Tensor], videos: list[torch.Tensor], counted: torch.Tensor = ALL, **more) -> tuple:
    meter = Steadiness(**more)
    rows = [meter.feed(number, *pair, counted) for number, pair in enumerate(zip(renders, videos, strict=True))]
    return rows, meter.figures()


def test_a_softer_picture_that_moves_alike_is_steady() -> None:
    videos = [torch.full(SHAPE, 0.1 * number) for number in range(4)]
    rows, figures = walk([video + 0.3 for video in videos], videos)
    assert rows[0] == {} and figures["tremble"] is None
    for row in rows[1:]:
        assert row["change"] == pytest.approx(25.5, abs=1e-3) == row["video_change"]
        assert row["change_error"] == pytest.approx(0, abs=1e-3)


def test_a_trembling_one_is_measured_against_the_videos_own() -> None:
    still = dict.fromkeys(range(6), True)
    videos = [torch.full(SHAPE, 0.5 + 0.01 * (number % 2)) for number in range(6)]
    renders = [torch.full(SHAPE, 0.2 + 0.03 * (number % 2)) for number in range(6)]
    rows, figures = walk(renders, videos, still=still)
    assert figures == {"tremble": pytest.approx(9, rel=1e-3), "still_moments": 4}
    assert rows[3]["change_error"] == pytest.approx(0.02 * 255, abs=1e-3)
    steady = [torch.full(SHAPE, 0.2 + 0.05 * number) for number in range(6)]
    assert walk(steady, videos, still=still)[1]["tremble"] == pytest.approx(0, abs=1e-6), "moving evenly is no tremble"
    assert walk(renders, videos, still=still | {3: False})[1]["still_moments"] == 2
    assert walk(renders, [videos[0]] * 6, still=still)[1]["tremble"] is None, "a video that stands still tells nothing"


def test_cuts_gaps_and_pixels_that_do_not_count_are_no_changes() -> None:
    frames = [torch.rand(SHAPE) for _ in range(4)]
    rows, _ = walk(frames, frames[::-1], cuts=[2])
    assert [bool(row) for row in rows] == [False, True, False, True]
    meter = Steadiness()
    assert meter.feed(3, frames[0], frames[0], ALL) == {} == meter.feed(5, frames[1], frames[1], ALL)
    assert meter.feed(6, frames[1], frames[1], 0 * ALL) == {}
    half = ALL.clone()
    half[4:] = 0
    changed = frames[0].clone()
    changed[4:] = 1 - changed[4:]
    rows, _ = walk([frames[0], changed], [frames[0], frames[0]], half)
    assert rows[1]["change"] == rows[1]["change_error"] == 0


def test_still_is_where_the_head_hardly_moves() -> None:
    head = tiny_head()
    tracking, avatar = tiny_tracking(head, 8), tiny_avatar(head)
    tracking.expression[:] = 0
    tracking.neck_pose[:] = 0
    tracking.translation[4:] = [0.002, 0, 0]  # 3.2 pixels at 512 in one frame
    tracking.translation[6:] = [0.0024, 0, 0]  # 0.6
    numbers = [0, 1, 2, 3, 4, 5, 6, 7]
    found = still_moments(avatar, tracking.params(), numbers, tiny_camera())
    assert found == {1: True, 2: True, 3: True, 4: False, 5: True, 6: True, 7: True}
    few = still_moments(avatar, tracking.params()[torch.tensor([0, 3, 4])], [0, 3, 4], tiny_camera(), np.arange(5))
    assert few == {4: False}, "between frames that are not neighbours nothing is told"
    assert still_moments(avatar, tracking.params()[[0]], [0], tiny_camera()) == {}
