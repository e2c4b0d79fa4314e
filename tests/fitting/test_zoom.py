# SPDX-License-Identifier: Apache-2.0
"""What of a face's size is the lens and what the head: lines stay, quick movements are the head's, shots apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from blendsplat.fitting.zoom import apparent_zoom, slow_part, without_zoom
from synthetic_head import make_head, make_truth

SECONDS = np.arange(100) / 25
EVERY, ONE_SHOT = np.ones(100, bool), np.zeros(100, int)


def test_a_steady_zoom_is_found_to_its_ends() -> None:
    ramp = np.exp(np.linspace(-0.2, 0.2, 100))
    np.testing.assert_allclose(slow_part(ramp, EVERY, SECONDS, ONE_SHOT), ramp, rtol=1e-9)


@pytest.mark.parametrize(("period", "kept"), [(0.4, 0.03), (4.0, 0.8)])
def test_quick_changes_are_the_heads_and_slow_ones_the_lenss(period: float, kept: float) -> None:
    sway = 0.05 * np.sin(2 * np.pi * SECONDS / period)
    slow = np.log(slow_part(np.exp(sway), EVERY, SECONDS, ONE_SHOT))[25:-25]  # away from the ends
    share = slow @ sway[25:-25] / (sway[25:-25] @ sway[25:-25])
    assert share <= kept if period < 1 else share >= kept, share


def test_shots_know_nothing_of_each_other_and_lost_frames_follow_their_neighbours() -> None:
    shots = (np.arange(100) >= 50).astype(int)
    ramp = np.where(shots, 1.5, np.linspace(1, 1.2, 100))
    valid = EVERY.copy()
    valid[[10, 11, 12, 60, 99]] = False
    told = np.where(valid, ramp, 9.0)
    np.testing.assert_allclose(slow_part(told, valid, SECONDS, shots), ramp, rtol=2e-3)
    valid[50:] = False
    assert (slow_part(told, valid, SECONDS, shots)[50:] == 1).all()


def test_too_few_frames_for_a_slope_have_one_size() -> None:
    slow = slow_part(np.array([1.0, 1.1, 1.3]), np.ones(3, bool), np.arange(3) / 25, np.zeros(3, int))
    np.testing.assert_allclose(slow, np.full(3, (1.0 * 1.1 * 1.3) ** (1 / 3)), rtol=0.02)


def test_what_looks_larger_is_nearer_and_a_turned_face_is_not() -> None:
    head = make_head()
    truth = make_truth(head, 9)
    for name in ("translation", "neck_pose", "expression"):
        setattr(truth, name, np.repeat(getattr(truth, name)[:1], 9, 0))
    turned = replace(
        truth, neck_pose=truth.neck_pose + np.linspace(-0.6, 0.6, 9, dtype=np.float32)[:, None] * [0, 1, 0]
    )
    np.testing.assert_allclose(apparent_zoom(head, turned), 1, atol=1e-5)
    nearer = replace(truth, translation=truth.translation.copy())
    nearer.translation[8, 2] += 0.1
    sizes = apparent_zoom(head, nearer)
    np.testing.assert_allclose(sizes[:8], 1, atol=1e-5)
    assert 1.05 < sizes[8] < 1.5


def test_points_are_scaled_about_the_principal_point_and_not_at_all_without_zoom() -> None:
    points = np.random.default_rng(0).uniform(0, 200, (3, 5, 2)).astype(np.float32)
    assert without_zoom(points, np.ones(3), np.array([90.0, 110.0])) is points
    moved = without_zoom(points, np.array([1.0, 2.0, 0.5]), np.array([90.0, 110.0]))
    np.testing.assert_allclose(moved[1], (points[1] - [90, 110]) / 2 + [90, 110], rtol=1e-6)
