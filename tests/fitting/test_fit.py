# SPDX-License-Identifier: Apache-2.0
"""The fit on landmarks whose truth is known: exact where the problem is exact, bounded where it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blendsplat.errors import InputError, NoFaceError
from blendsplat.fitting.clip_performance import nearest_valid
from blendsplat.fitting.fit import FitOptions, fit_clip
from blendsplat.geometry import matrix_to_rotvec, rotvec_to_matrix
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, head_vertices
from blendsplat.landmarks import points as pts
from blendsplat.tracking.metrics import evaluate_tracking, jitter, rigid_alignment
from synthetic_head import landmarks_of, make_head, make_truth

WEAK = FitOptions(offsets=False, smoothing=0, expression_sigma=100, shape_sigma=100, focal_sigma=5)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return make_head()


@pytest.fixture(scope="module")
def truth(head: HeadModel) -> Performance:
    return make_truth(head, 48)


def fitted(
    head: HeadModel, truth: Performance, pixels: np.ndarray, found: np.ndarray | None = None, **options
) -> Performance:
    found = np.ones(truth.frame_count, bool) if found is None else found
    return fit_clip(head, pixels, found, truth.timestamps, truth.width, truth.height, FitOptions(**options))


def test_exact_landmarks_give_the_truth_back(head, truth):
    result = fit_clip(head, landmarks_of(head, truth), truth.valid, truth.timestamps, 512, 512, WEAK)
    figures = evaluate_tracking(result, truth, head)
    assert figures["vertex_error_mm"] < 0.5
    assert figures["rotation_error_deg"] < 0.2
    assert figures["landmark_error_percent"] < 0.15
    assert figures["focal_error_percent"] < 1.0
    assert result.figures["landmark_error"] < 0.0015


def test_defaults_shrink_little(head, truth):
    figures = evaluate_tracking(fitted(head, truth, landmarks_of(head, truth)), truth, head)
    assert figures["vertex_error_mm"] < 1.5
    assert figures["rotation_error_deg"] < 1.0
    assert figures["gaze_error_deg"] < 2.5


def test_noise_and_outliers_stay_bounded(head, truth):
    rng = np.random.default_rng(5)
    pixels = landmarks_of(head, truth) + rng.normal(size=(48, 478, 2)) * 0.8
    wild = rng.random((48, 478)) < 0.05
    pixels[wild] += rng.normal(size=(wild.sum(), 2)) * 40
    figures = evaluate_tracking(fitted(head, truth, pixels), truth, head)
    assert figures["vertex_error_mm"] < 2.0
    assert figures["rotation_error_deg"] < 1.2
    assert figures["jitter_px"] < 3 * figures["truth_jitter_px"]


def test_smoothing_lowers_jitter_and_keeps_blinks(head, truth):
    pixels = landmarks_of(head, truth) + np.random.default_rng(2).normal(size=(48, 478, 2)) * 1.5
    rough, smooth = fitted(head, truth, pixels, smoothing=0), fitted(head, truth, pixels)
    assert jitter(smooth, head) < 0.75 * jitter(rough, head)
    blinking = truth.eyelids.max(1) > 0.9
    assert blinking.any() and smooth.eyelids[blinking].min() > 0.6
    assert np.abs(smooth.eyelids[truth.eyelids.max(1) < 0.02]).max() < 0.3


@pytest.mark.parametrize("fov", [20.0, 55.0])
def test_focal_length_is_found_from_perspective(head, fov):
    clip = make_truth(head, 40, fov=fov)
    result = fit_clip(head, landmarks_of(head, clip), clip.valid, clip.timestamps, 512, 512, WEAK)
    assert abs(np.log(result.K[0, 0] / clip.K[0, 0])) < 0.05


def test_known_focal_length_is_kept(head, truth):
    result = fitted(head, truth, landmarks_of(head, truth), focal=1234.0)
    assert result.K[0, 0] == pytest.approx(1234.0)


def test_off_centre_principal_point(head, truth):
    shifted = landmarks_of(head, truth) + np.array([60.0, -35.0])
    figures = evaluate_tracking(fitted(head, truth, shifted, centre=(316.0, 221.0)), truth, head)
    assert figures["rotation_error_deg"] < 1.0


def test_directions_are_not_mirrored(head):
    """Yaw to the person's left, gaze to the left and up, the left lid closed: each in its own sign and side."""
    clip = make_truth(head, 9)
    for name in ("expression", "jaw_pose", "neck_pose", "eyes_pose", "eyelids", "translation"):
        getattr(clip, name)[:] = 0
    clip.shape[:] = 0
    clip.neck_pose[:, 1] = np.linspace(-0.4, 0.4, 9)
    clip.eyes_pose[:, :, 1] = 0.25
    clip.eyes_pose[:, :, 0] = -0.15
    clip.eyelids[4:, 0] = 0.8
    pixels = landmarks_of(head, clip)
    assert pixels[4, pts.LEFT_IRIS[0], 0] > pixels[4, pts.RIGHT_IRIS[0], 0]  # the person's left is on the image's right
    result = fitted(head, clip, pixels, smoothing=0)
    # beyond a usual turn the torso takes a part, so heads are compared whole
    yaw = result.neck_pose[:, 1] + result.root_pose[:, 1]
    assert yaw[0] < -0.3 and yaw[-1] > 0.3
    assert (result.eyes_pose[:4, :, 1] > 0.12).all() and (result.eyes_pose[:4, :, 0] < -0.07).all()
    assert (result.eyelids[5:, 0] > 0.5).all() and (np.abs(result.eyelids[:, 1]) < 0.2).all()


def test_face_leaves_and_returns(head, truth):
    pixels, found = landmarks_of(head, truth), np.ones(48, bool)
    found[[0, 1, 20, 21, 22, 23, 47]] = False
    pixels[~found] = 0
    result = fitted(head, truth, pixels, found)
    assert (result.valid == found).all()
    np.testing.assert_array_equal(result.neck_pose[[0, 1]], result.neck_pose[[2, 2]])
    np.testing.assert_array_equal(result.expression[[20, 21, 22, 23]], result.expression[[19, 19, 24, 24]])
    np.testing.assert_array_equal(result.translation[47], result.translation[46])
    assert evaluate_tracking(result, truth, head)["rotation_error_deg"] < 1.0


def test_frames_that_make_no_face_are_marked(head, truth):
    pixels = landmarks_of(head, truth)
    pixels[10] = np.random.default_rng(0).uniform(0, 512, (478, 2))
    pixels[11] = np.nan
    result = fitted(head, truth, pixels)
    assert not result.valid[10] and not result.valid[11] and result.valid.sum() == 46
    assert np.isfinite(result.translation).all()


def test_cut_between_shots_is_not_smoothed(head, truth):
    other = make_truth(head, 48, seed=9)
    other.shape[:] = truth.shape
    other.neck_pose[:, 1] += 0.5
    pixels = np.concatenate([landmarks_of(head, truth)[:24], landmarks_of(head, other)[:24] + [45.0, 20.0]])
    result = fitted(head, truth, pixels)
    assert result.figures["shots"] == 2
    want = other.neck_pose[24 - 24, 1] - truth.neck_pose[23, 1]
    assert abs((result.neck_pose[24, 1] - result.neck_pose[23, 1]) - want) < 0.1


def test_single_frame(head, truth):
    result = fitted(head, make_truth(head, 1), landmarks_of(head, truth)[:1])
    assert result.frame_count == 1 and result.valid.all()
    assert result.figures["landmark_error"] < 0.02
    assert jitter(result, head) == 0


def test_uneven_time_stamps(head, truth):
    rng = np.random.default_rng(3)
    keep = np.sort(rng.choice(48, 30, replace=False))
    pixels = landmarks_of(head, truth)[keep]
    result = fit_clip(head, pixels, np.ones(30, bool), truth.timestamps[keep], 512, 512)
    turned = rotvec_to_matrix(torch.as_tensor(result.root_pose)) @ rotvec_to_matrix(torch.as_tensor(result.neck_pose))
    wrong = matrix_to_rotvec(turned.mT @ rotvec_to_matrix(torch.as_tensor(truth.neck_pose[keep])))
    assert wrong.norm(dim=1).max() < np.radians(2)


def test_blendshapes_stay_in_their_range():
    head = make_head(bounded=True)
    clip = make_truth(head, 30)
    pixels = landmarks_of(head, clip) + np.random.default_rng(1).normal(size=(30, 478, 2)) * 2
    result = fitted(head, clip, pixels)
    assert result.expression.min() >= 0 and result.expression.max() <= 1
    assert result.expression.max() > 0.3


def test_no_face_is_said(head, truth):
    with pytest.raises(NoFaceError, match="No face"):
        fitted(head, truth, landmarks_of(head, truth), np.zeros(48, bool))
    garbage = np.random.default_rng(0).uniform(0, 512, (48, 478, 2))
    with pytest.raises(NoFaceError):
        fitted(head, truth, garbage)


def test_file_round_trip(head, truth, tmp_path):
    result = fitted(head, truth, landmarks_of(head, truth))
    result.save(tmp_path / "tracking.npz")
    again = Performance.load(tmp_path)
    assert again.figures == result.figures and (again.neck_pose == result.neck_pose).all()
    assert result.expression.dtype == result.K.dtype == result.vertex_offsets.dtype == np.float32


def test_threads_are_given_back(head, truth):
    before = torch.get_num_threads()
    fitted(head, truth, landmarks_of(head, truth))
    assert torch.get_num_threads() == before


def test_offsets_catch_what_the_basis_lacks(head, truth):
    """A nose that no shape direction makes: offsets take it up and stay smooth and symmetric."""
    template = head.template.clone()
    bump = torch.exp(-((head.template - head.landmarks_of(head.template[None])[0, 4]) ** 2).sum(1) / (2 * 0.02**2))
    bump[-24:] = 0
    template[:, 2] += 0.008 * bump
    other = replace(head, template=template)
    pixels = landmarks_of(other, truth)
    without, having = fitted(head, truth, pixels, offsets=False), fitted(head, truth, pixels)
    assert having.figures["landmark_error"] < 0.9 * without.figures["landmark_error"]
    assert 0.001 < np.linalg.norm(having.vertex_offsets, axis=1).max() < 0.02


@given(st.lists(st.booleans(), min_size=1, max_size=30).filter(any))
@settings(max_examples=60, deadline=None)
def test_nearest_valid_is_nearest(flags):
    valid = np.array(flags)
    nearest = nearest_valid(valid)
    frames = np.arange(len(valid))
    assert valid[nearest].all() and (nearest[valid] == frames[valid]).all()
    best = np.array([np.abs(np.flatnonzero(valid) - i).min() for i in frames])
    assert (np.abs(nearest - frames) == best).all()


def test_rigid_alignment_undoes_a_motion(head, truth):
    vertices = head_vertices(truth, head, np.array([0, 5]))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = vertices @ turn + [0.1, 0.2, -0.3]
    np.testing.assert_allclose(rigid_alignment(moved, vertices), vertices, atol=1e-5)
    np.testing.assert_allclose(rigid_alignment(1.3 * moved, vertices, with_scale=True), vertices, atol=1e-5)


def test_evaluation_of_the_truth_is_zero_and_of_strangers_refused(head, truth):
    figures = evaluate_tracking(truth, truth, head)
    assert figures["vertex_error_mm"] < 1e-3 and figures["landmark_error_percent"] < 1e-3
    assert figures["rotation_error_deg"] < 0.05 and figures["jitter_px"] == figures["truth_jitter_px"]
    with pytest.raises(InputError, match="different clips"):
        evaluate_tracking(truth, make_truth(head, 3), head)
