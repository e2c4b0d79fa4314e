# SPDX-License-Identifier: Apache-2.0
"""The figures of a tracking whose lens zooms: zooming is no error where the truth zooms as well, and no jitter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from blendsplat.heads.performance import frame_intrinsics
from blendsplat.tracking.metrics import evaluate_tracking, jitter
from synthetic_head import make_head, make_truth


def test_a_zoom_is_part_of_the_camera() -> None:
    head = make_head()
    still = make_truth(head, 12)
    for name in ("expression", "neck_pose", "jaw_pose", "eyes_pose", "eyelids", "translation"):
        setattr(still, name, np.repeat(getattr(still, name)[:1], 12, 0))
    steady = replace(still, zoom=np.linspace(1, 1.11, 12).astype(np.float32))
    jumping = replace(still, zoom=(1 + 0.01 * (-1.0) ** np.arange(12)).astype(np.float32))
    assert jitter(still, head) < 1e-3 and jitter(steady, head) < 0.02 and jitter(jumping, head) > 1
    K = frame_intrinsics(steady)
    assert K.shape == (12, 3, 3) and np.allclose(K[:, :, 2], still.K[:, 2])
    assert K[-1, 0, 0] == pytest.approx(1.11 * still.K[0, 0])
    same, blind = (evaluate_tracking(tracking, steady, head) for tracking in (steady, still))
    assert same["focal_error_percent"] == 0 and same["landmark_error_percent"] < 1e-3
    assert blind["focal_error_percent"] == pytest.approx(100 * (1 - 1 / steady.zoom).mean(), rel=1e-3)
    assert blind["landmark_error_percent"] > 1


def test_frames_without_a_face_do_not_shift_the_zoom_of_the_others() -> None:
    head = make_head()
    truth = replace(make_truth(head, 10), zoom=np.linspace(1, 1.5, 10).astype(np.float32))
    valid = np.ones(10, bool)
    valid[[0, 4, 5]] = False
    figures = evaluate_tracking(replace(truth, valid=valid), truth, head)
    assert figures["frames_compared"] == 7 and figures["landmark_error_percent"] < 1e-3
