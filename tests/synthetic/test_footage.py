# SPDX-License-Identifier: Apache-2.0
"""Footage with a truth: people come again and differ, offsets are smooth and of their size, heads turn and rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from blendsplat.geometry import project_points
from blendsplat.heads.human import human_head
from blendsplat.synthetic.footage import (
    OFFSET,
    OFFSET_REACH,
    CameraFaults,
    camera_of,
    make_footage,
    smooth_offsets,
    through_a_lens,
)
from blendsplat.synthetic.motion import HEAD_REACH, lively_motion, wandering


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.slow
def test_people_differ_and_come_again(tmp_path: Path) -> None:
    head = human_head()
    one, again, two = (make_footage(tmp_path / "p.mp4", head, 1, rng(9, n), size=64) for n in (0, 0, 1))
    for name in ("shape", "vertex_offsets", "neck_pose", "expression", "K"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        assert not np.array_equal(getattr(one, name), getattr(two, name)), name
    assert (one.width, one.height) == (64, 64) and (tmp_path / "p.mp4").exists()


def test_offsets_are_smooth_of_their_size_and_leave_the_eyes() -> None:
    head = human_head()
    fields = np.stack([smooth_offsets(head, rng(n)).numpy() for n in range(20)])
    eyes = np.concatenate([head.regions["left_eyeball"], head.regions["right_eyeball"]])
    assert np.abs(fields[:, eyes]).max() == 0
    points = head.template.numpy()
    away = np.linalg.norm(points[:, None] - points[eyes[::40]], axis=-1).min(1) > 0.03
    assert abs(np.sqrt((fields[:, away] ** 2).sum(-1).mean()) / OFFSET - 1) < 0.1
    # Correlation over a distance, against the kernel that was asked for.
    pairs = np.random.default_rng(0).choice(np.flatnonzero(away), (4000, 2))
    apart = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=-1)
    alike = (fields[:, pairs[:, 0]] * fields[:, pairs[:, 1]]).sum(-1).mean(0) / (fields[:, away] ** 2).sum(-1).mean()
    for low, high in ((0, 0.01), (0.015, 0.025), (0.06, 0.3)):
        chosen = (apart >= low) & (apart < high)
        expected = np.exp(-(apart[chosen] ** 2) / (2 * OFFSET_REACH**2)).mean()
        assert abs(alike[chosen].mean() - expected) < 0.15


def test_heads_turn_as_far_as_they_should_move_smoothly_and_rest() -> None:
    for seed in range(6):
        motion = lively_motion(100, 25.0, rng(seed))
        reach = np.abs(motion.head).max(0) / HEAD_REACH
        assert (reach > 0.75).all() and (reach < 1.25).all()
        steps = np.degrees(np.linalg.norm(np.diff(motion.head, axis=0), axis=1))
        assert steps.max() < 14 and np.percentile(steps, 25) < 0.5  # degrees a frame
        assert np.degrees(np.abs(motion.gaze)).max() < 32


def test_wandering_keeps_its_bounds_and_has_no_jumps() -> None:
    values = wandering(np.arange(5000) / 1000, 2, (0.2, 0.4), (0.3, 0.5), rng(3))
    assert np.abs(values).max() <= 1 and np.abs(np.diff(values, axis=0)).max() < 0.02
    assert values.min() < -0.2 and values.max() > 0.2


def test_any_lens_shows_the_head_equally_large() -> None:
    points = torch.tensor([[[-0.08, 0.0, 0.0], [0.08, 0.0, 0.0]]])
    widths = []
    for view in (20.0, 35.0, 50.0):
        K, viewmat = camera_of(view, 512)
        pixels = project_points(points, torch.as_tensor(viewmat)[None], torch.as_tensor(K)[None])[0]
        widths.append(float(pixels[1, 0] - pixels[0, 0]))
    assert np.ptp(widths) < 0.5 and 150 < widths[0] < 250


def test_a_camera_adds_what_it_is_told() -> None:
    grey = [np.full((64, 64, 3), 0.5, np.float32)] * 8
    clean = np.stack(list(through_a_lens(iter(grey), CameraFaults(0.5, 0, 0, 8, 0), rng(0)))).astype(float)
    assert np.abs(clean - 127.5).max() <= 1
    grainy = np.stack(list(through_a_lens(iter(grey), CameraFaults(0.5, 0.01, 0, 8, 0), rng(0)))) / 255
    assert 0.007 < grainy.std() < 0.012
    drifting = np.stack(list(through_a_lens(iter(grey), CameraFaults(0.5, 0, 0.04, 8, 0), rng(0)))).mean((1, 2, 3))
    assert abs(np.ptp(drifting) / 127.5 - 0.08) < 0.01
