# SPDX-License-Identifier: Apache-2.0
"""What surrounds the rendering of a driven avatar: backgrounds, alpha, the frames that are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from blendsplat.errors import InputError
from blendsplat.heads.performance import Performance
from blendsplat.jobs.render_work import frames_of, parse_background, performance_fps, to_straight8


def test_backgrounds() -> None:
    assert parse_background(None, is_video=False) is None
    assert parse_background(None, is_video=True) == (1, 1, 1)
    assert parse_background("transparent", is_video=False) is None
    assert parse_background("#ff0000", is_video=True) == (1, 0, 0)
    assert parse_background("0.5,0,1", is_video=True) == (0.5, 0, 1)
    assert parse_background((0, 0, 0), is_video=True) == (0, 0, 0)
    for bad in ("pink-ish", "#ff", "1,2", "2,0,0", "nan,0,0"):
        with pytest.raises(InputError, match="background"):
            parse_background(bad, is_video=False)
    with pytest.raises(InputError, match="transparency"):
        parse_background("transparent", is_video=True)


def test_straight_alpha() -> None:
    rgba = np.array([[[0.25, 0, 0, 0.5], [0, 0, 0, 0], [1, 1, 1, 1], [0.7, 0.1, 0, 0.5]]], np.float32)
    np.testing.assert_array_equal(to_straight8(rgba)[0], [[128, 0, 0, 128], [0, 0, 0, 0], [255] * 4, [255, 51, 0, 128]])


def performance(frames: int, fps: float = 25.0) -> Performance:
    zeros = np.zeros((frames, 3), np.float32)
    return Performance(
        "builtin", "builtin", 64, 64, np.arange(frames) / fps, np.ones(frames, bool), np.zeros(2, np.float32),
        np.zeros((4, 3), np.float32), np.arange(frames, dtype=np.float32)[:, None], zeros, zeros, zeros,
        np.zeros((frames, 2, 3), np.float32), np.zeros((frames, 2), np.float32), zeros, np.eye(3, dtype=np.float32),
        np.eye(4, dtype=np.float32),
    )  # fmt: skip


def test_frames_of_a_performance() -> None:
    whole = performance(10, 30.0)
    part = frames_of(whole, 4, 3)
    assert part.frame_count == 3 and part.expression[:, 0].tolist() == [4, 5, 6]
    assert frames_of(whole, 8, None).frame_count == 2
    assert frames_of(whole, 8, 100).frame_count == 2
    assert performance_fps(whole) == pytest.approx(30.0)
    assert performance_fps(frames_of(whole, 0, 1)) == 25.0
    with pytest.raises(InputError, match=r"10 frames \(0 to 9\)"):
        frames_of(whole, 10, 1)
