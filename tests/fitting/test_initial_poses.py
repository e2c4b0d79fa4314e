# SPDX-License-Identifier: Apache-2.0
"""Rough poses, cuts, runs of frames, visibility, and the solver of the smoothing, each against a plain oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from blendsplat.fitting import initial_poses as prepare
from blendsplat.fitting.landmark_model import restrict_to_landmarks
from blendsplat.fitting.temporal import make_smoothness, usual_stiffness
from blendsplat.landmarks import points as pts
from synthetic_head import make_head


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_weak_perspective_is_exact_for_its_own_camera(seed):
    rng = np.random.default_rng(seed)
    points = restrict_to_landmarks(make_head()).points.double().numpy()
    turn = Rotation.from_rotvec(rng.uniform(-0.7, 0.7, 3)).as_matrix()
    scale = rng.uniform(500, 4000)
    pixels = (points @ turn.T)[None, :, :2] * [scale, -scale] + rng.uniform(100, 400, 2)
    rotations, scales, centres = prepare.weak_perspective_poses(points, pixels)
    np.testing.assert_allclose(rotations[0], turn, atol=1e-6)
    np.testing.assert_allclose(scales[0], scale, rtol=1e-6)
    np.testing.assert_allclose(centres[0], pixels[0, list(pts.RIGID)].mean(0), atol=1e-6)


def _moving(frames: int, speed: float) -> np.ndarray:
    base = np.random.default_rng(0).uniform(100, 300, (478, 2))
    return base[None] + np.arange(frames)[:, None, None] * speed


def test_fast_heads_are_no_cuts_and_jumps_are():
    distance, found = np.full(20, 60.0), np.ones(20, bool)
    assert not prepare.shot_cuts(_moving(20, 15.0), found, distance).any()
    jumped = _moving(20, 0.5)
    jumped[12:] += 30
    assert np.flatnonzero(prepare.shot_cuts(jumped, found, distance)).tolist() == [12]
    found[11] = False
    assert not prepare.shot_cuts(jumped, found, distance).any()  # a frame without a face ends the run anyway


def test_runs_end_at_cuts_losses_and_gaps():
    valid = np.array([1, 1, 0, 1, 1, 1, 1, 1], bool)
    cuts = np.array([0, 0, 0, 0, 0, 1, 0, 0], bool)
    times = np.array([0, 1, 2, 3, 4, 5, 6, 20]) / 25
    assert prepare.segments_of(valid, cuts, times).tolist() == [0, 0, -1, 1, 1, 2, 2, 3]
    assert prepare.segments_of(np.ones(1, bool), np.zeros(1, bool), np.zeros(1)).tolist() == [0]
    phone = np.cumsum(np.where(np.arange(12) % 2, 1 / 120, 1 / 20))  # an uneven rate is no gap
    assert (prepare.segments_of(np.ones(12, bool), np.zeros(12, bool), phone) == 0).all()


def test_hidden_side_is_not_believed():
    normals = np.array([[0, 0, 1.0], [1, 0, 0], [-1, 0, 0], [0, 0, -1]])
    turned = Rotation.from_rotvec([[0, 0, 0], [0, 0.7, 0]]).as_matrix()  # towards the person's left, the image's right
    seen = prepare.visibility(normals, turned, np.array([[0, 0, 1.0], [0, 0, 1.0]]))
    assert seen[0, 0] == 1 and seen[0, 3] == pytest.approx(0.03)
    assert seen[1, 2] > 0.9 and seen[1, 1] == pytest.approx(0.03)  # his right cheek shows, his left is hidden


def test_closed_eyes_have_no_gaze():
    weight = prepare.iris_confidence(np.array([[0.16, 0.01]]))[0]
    assert weight[list(pts.LEFT_IRIS)].min() == 1 and weight[list(pts.RIGHT_IRIS)].max() < 0.05
    assert weight[:468].min() == 1


@given(st.integers(1, 40), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_spread_frames_are_distinct_candidates(count, frames):
    candidates = np.arange(frames) * 2
    features = np.random.default_rng(frames).normal(size=(2 * frames, 3))
    chosen = prepare.spread_frames(features, candidates, count)
    assert set(chosen) <= set(candidates) and len(set(chosen)) == len(chosen) <= max(count, 1)
    if frames <= count:
        assert len(chosen) == frames


def test_index_groups_make_sense():
    groups = [
        pts.OUTER_LIPS,
        pts.INNER_LIPS,
        pts.MIDDLE_LIPS,
        pts.LEFT_LIDS,
        pts.RIGHT_LIDS,
        pts.LEFT_IRIS,
        pts.RIGHT_IRIS,
    ]
    flat = [index for group in groups for index in group]
    assert len(set(flat)) == len(flat) and max(flat) < 478
    telling = set(pts.telling_points())
    assert {index for pair in (*pts.LID_PAIRS, *pts.LIP_PAIRS) for index in pair} <= telling
    assert (pts.landmark_confidence() > 0).all()


def test_smoothness_is_silent_on_straight_motion_and_self_adjoint():
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(0.02, 0.06, 15))
    segments = np.array([0] * 8 + [-1] + [1] * 6)
    smooth = make_smoothness(segments, times, usual_stiffness(("browDown", "eyeBlink", "jawOpen")))
    straight = torch.as_tensor(times, dtype=torch.float32)[:, None] * torch.randn(18) + torch.randn(18)
    assert smooth.accelerations(straight).abs().max() < 1e-4
    assert len(smooth.rows) == 6 + 4  # nothing across the loss
    a, b = torch.randn(15, 18), torch.randn(15, 18)
    torch.testing.assert_close((a * smooth.apply(b)).sum(), (b * smooth.apply(a)).sum(), rtol=1e-3, atol=1e-2)
    basis = torch.zeros(15, 18)
    basis[4, 2] = 1
    torch.testing.assert_close(smooth.apply(basis)[4, 2], smooth.diagonal(15)[4, 2])


def test_a_blink_is_freer_than_a_brow():
    stiffness = usual_stiffness(("browInnerUp", "eyeBlinkLeft", "mouthSmileLeft"))
    brow, blink, smile = stiffness[-3:]
    assert blink < smile < brow
