# SPDX-License-Identifier: Apache-2.0
"""Landmarks: both detectors on real pictures, the right person, unmirrored, and silence on standard error."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from blendsplat.errors import FormatError, InputError
from blendsplat.files import write_npz
from blendsplat.landmarks.detector import (
    FaceLandmarkerDetector,
    FaceMeshDetector,
    LandmarkDetector,
    Landmarks,
    box_distance,
    choose_face,
    load_landmarks,
    make_detector,
    save_landmarks,
)
from blendsplat.landmarks.native_logs import quiet_native_logs

BUNDLE = "landmarks/face_landmarker.task"


@pytest.fixture(scope="module")
def portrait(test_data) -> np.ndarray:
    return np.array(Image.open(test_data("images/astronaut.png")).convert("RGB"))


@pytest.fixture(params=["wheel", "bundle"])
def bundle(request, test_data):
    return None if request.param == "wheel" else test_data(BUNDLE)


def face_at(x: float, y: float, size: float) -> Landmarks:
    square = np.random.default_rng(0).uniform(-0.5, 0.5, (478, 3)).astype(np.float32)
    square[:4, :2] = [[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]
    return Landmarks(square * size + np.array([x, y, 0], np.float32))


def test_points_lie_on_the_face_and_are_not_mirrored(portrait, bundle):
    with make_detector(bundle) as detector:
        face = detector.detect(portrait, 0.0)
    points = face.points
    assert points.shape == (478, 3) and points.dtype == np.float32 and face.score == 1.0
    # where the features are in this picture, read off by eye; the person's right eye is on the picture's left
    for index, place in ((468, (203, 101)), (473, (247, 103)), (1, (223, 130)), (13, (223, 143)), (152, (222, 178))):
        assert np.hypot(*(points[index, :2] - place)) < 5, (index, points[index])
    assert points[1, 2] < points[234, 2] and points[1, 2] < points[454, 2]  # the nose is nearer than the ears


def test_the_two_detectors_agree(portrait, test_data):
    with FaceMeshDetector() as wheel, FaceLandmarkerDetector(test_data(BUNDLE)) as bundle:
        a, b = (detector.detect(portrait, 0.0).points for detector in (wheel, bundle))
    eyes = np.linalg.norm(a[468, :2] - a[473, :2])
    assert np.linalg.norm((a - b)[:, :2], axis=1).mean() < 0.1 * eyes


def test_landmarks_scale_with_the_picture(portrait, bundle):
    wide = np.ascontiguousarray(np.pad(cv2.resize(portrait, None, fx=1.5, fy=1.5), ((0, 0), (0, 200), (0, 0))))
    with make_detector(bundle, moving=False) as detector:
        one, other = detector.detect(portrait, 0.0), detector.detect(wide, 0.1)
    np.testing.assert_allclose(other.points[:, :2] / 1.5, one.points[:, :2], atol=5)
    depth = np.ptp(other.points[:, 2]) / np.ptp(one.points[:, 2])
    assert 1.3 < depth < 1.7


def test_nothing_and_the_return_of_a_face(portrait, bundle):
    empty = np.full_like(portrait, 90)
    with make_detector(bundle) as detector:
        found = [
            detector.detect(image, i / 25)
            for i, image in enumerate([empty, portrait, portrait, empty, empty, portrait])
        ]
        assert [face is not None for face in found] == [False, True, True, False, False, True]
        detector.forget()
        assert detector.detect(portrait, 0.0) is not None  # another shot may begin at any time


def test_of_two_people_the_same_one_all_the_time(portrait, bundle):
    person = portrait[:260, 110:340]

    def picture(left: float, right: float) -> np.ndarray:
        image = np.full((330, 600, 3), 90, np.uint8)
        for x, scale in ((0, left), (300, right)):
            small = cv2.resize(person, None, fx=scale, fy=scale)
            image[: small.shape[0], x : x + small.shape[1]] = small[:, : 600 - x]
        return image

    with make_detector(bundle, max_faces=2, moving=False) as detector:
        found = [detector.detect(picture(1.2, 1.0), 0.0), detector.detect(picture(1.1, 1.25), 0.04)]
        assert detector.faces_seen == 2
        assert all(face.points[1, 0] < 300 for face in found)
        detector.follow(np.array([350, 50, 450, 190]), 0.08)
        assert detector.detect(picture(1.2, 1.0), 0.12).points[1, 0] > 300


def test_choosing_among_faces():
    small, large = face_at(100, 100, 50), face_at(300, 100, 80)
    assert choose_face([], None) is None
    assert choose_face([small, large], None) is large
    assert choose_face([small, large], face_at(104, 100, 52).box) is small
    assert choose_face([small, large], face_at(900, 900, 20).box) is large
    assert box_distance(small.box, small.box) == 0
    assert box_distance(small.box, large.box) == pytest.approx(box_distance(large.box, small.box))


def test_after_a_second_without_the_face_the_larger_one_counts():
    class Scripted(LandmarkDetector):
        name = "scripted"

        def __init__(self, script):
            super().__init__()
            self.script = iter(script)

        def _detect_all(self, image, timestamp_s):
            return next(self.script)

        def close(self):
            pass

    small, large = face_at(100, 100, 50), face_at(300, 100, 80)
    detector = Scripted([[small], [small, large], [], [small, large], [], [large, small]])
    found = [detector.detect(np.zeros((9, 9, 3), np.uint8), t) for t in (0, 0.1, 0.2, 0.3, 0.4, 2.0)]
    assert found == [small, small, None, small, None, large]


def test_unusable_bundles_are_refused(tmp_path, test_data):
    wrong = tmp_path / "wröng.task"
    wrong.write_bytes(b"not a bundle" * 100)
    for path in (wrong, tmp_path / "missing.task", tmp_path):
        with pytest.raises(InputError, match="bundle"):
            make_detector(path)
    copy = tmp_path / "ünïcode folder" / "bündle.task"
    copy.parent.mkdir()
    copy.write_bytes(test_data(BUNDLE).read_bytes())
    make_detector(copy).close()


def test_the_file(tmp_path):
    points = np.random.default_rng(0).normal(size=(5, 478, 3))
    found = np.array([1, 1, 0, 1, 0], bool)
    save_landmarks(tmp_path / "landmarks.npz", points, found, "x")
    loaded, seen = load_landmarks(tmp_path)
    np.testing.assert_allclose(loaded, points, rtol=1e-6)
    np.testing.assert_array_equal(seen, found)
    meta = {"format": "blendsplat-landmarks", "version": 1}
    for arrays in (
        {},
        {"points": points},
        {"points": points[:4], "found": found},
        {"points": points[:, :68], "found": found},
    ):
        write_npz(tmp_path / "landmarks.npz", meta, arrays)
        with pytest.raises(FormatError):
            load_landmarks(tmp_path)


def test_standard_error_stays_clean_but_not_deaf(test_data, tmp_path):
    script = f"""
import sys, numpy as np
from PIL import Image
from blendsplat.landmarks.detector import make_detector
from blendsplat.landmarks.native_logs import quiet_native_logs
image = np.array(Image.open({str(test_data("images/astronaut.png"))!r}).convert("RGB"))
for bundle in (None, {str(test_data(BUNDLE))!r}):
    with make_detector(bundle) as detector:
        assert detector.detect(image, 0.0) is not None
        detector.forget()
        assert detector.detect(image, 0.1) is not None
with quiet_native_logs():
    print("E0000 00:00:1 file.cc:1] a real error", file=sys.stderr)
    print("W0000 00:00:1 file.cc:1] a notice", file=sys.stderr)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stderr.splitlines() == ["E0000 00:00:1 file.cc:1] a real error"]


def test_errors_pass_through_the_silence(capfd):
    with pytest.raises(ZeroDivisionError), quiet_native_logs():
        os.write(2, b"something else\n")
        _ = 1 / 0
    assert "something else" in capfd.readouterr().err


def test_mediapipe_comes_without_matplotlib_and_leaves_the_real_one_alone():
    script = """
import sys
from blendsplat.landmarks.detector import import_mediapipe
assert import_mediapipe().solutions.face_mesh.FaceMesh
assert not [name for name in sys.modules if name.split(".")[0] == "matplotlib"]
import matplotlib.pyplot
assert matplotlib.pyplot.figure and matplotlib.__version__
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, timeout=120)
    assert run.returncode == 0, run.stderr
