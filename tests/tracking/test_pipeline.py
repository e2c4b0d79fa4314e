# SPDX-License-Identifier: Apache-2.0
"""A whole clip's folder through track_clip: what is written, what is said, and that a cancelled run harms nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from blendsplat.errors import Cancelled, FormatError, InputError, NoFaceError
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, head_vertices
from blendsplat.landmarks.detector import load_landmarks, save_landmarks
from blendsplat.progress import Progress
from blendsplat.tracking import TrackOptions, evaluate_tracking, track_clip
from blendsplat.tracking.faded import in_fades
from blendsplat.video import Clip
from blendsplat.video.clip import ClipInfo, write_info
from synthetic_clip import FRAMES, SIZE, head_with_neck, make_folder, options
from synthetic_head import make_truth


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return head_with_neck()


@pytest.fixture(scope="module")
def truth(head: HeadModel) -> Performance:
    return make_truth(head, FRAMES, size=SIZE, fov=27)


def test_everything_is_written(head, truth, tmp_path):
    folder = make_folder(tmp_path / "clip with ä space", head, truth)
    result = track_clip(folder, options(head))
    again = Performance.load(folder)
    assert (again.neck_pose == result.neck_pose).all() and again.frame_count == FRAMES
    assert {"landmark_error", "jitter_px", "frames_per_second"} <= set(again.figures)
    camera = json.loads((folder / "camera.json").read_text())
    np.testing.assert_allclose(camera["K"], result.K)
    np.testing.assert_allclose(camera["viewmat"], result.viewmat)
    assert camera["width"] == SIZE
    video = cv2.VideoCapture(str(folder / "overlay.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES
    figures = evaluate_tracking(result, truth, head)
    assert figures["rotation_error_deg"] < 1.5 and figures["vertex_error_mm"] < 3


def test_pictures_without_texture_spoil_nothing(head, truth, tmp_path):
    folder = make_folder(tmp_path / "flat", head, truth)
    result = track_clip(folder, options(head, refine="dense", overlay=False, valid_maps=False))
    figures = evaluate_tracking(result, truth, head)
    assert figures["rotation_error_deg"] < 2 and figures["vertex_error_mm"] < 3
    assert result.valid.all() and result.regions and np.isfinite(result.confidence).all()


def test_frames_in_a_fade_are_little_trusted(head, truth, tmp_path):
    """However well they are fitted: a dark picture misses by little. Those that show two shots have no landmarks, and
    are not followed either."""
    folder = make_folder(tmp_path / "c", head, truth)
    points, found = load_landmarks(folder / "landmarks.npz")
    found[[6, 7]] = False
    save_landmarks(folder / "landmarks.npz", points, found, "test")
    info = Clip.open(folder).info
    info.faded = [0, 1, 6, 7]
    write_info(folder, info)
    result = track_clip(folder, options(head, overlay=False, valid_maps=False))
    assert result.valid.tolist() == [frame not in (6, 7) for frame in range(FRAMES)]
    assert np.allclose(result.confidence[[0, 1, 6, 7]], [0.2, 0.2, 0, 0]) and (result.confidence[2:6] > 0.7).all()
    assert result.figures["frames_with_face"] == FRAMES - 2
    followed = replace(result, valid=np.ones(FRAMES, bool), confidence=np.full(FRAMES, 0.9, np.float32),
                       region_confidence=np.full((FRAMES, 2), 0.7, np.float32))  # fmt: skip
    refined = in_fades(followed, info.faded, found)
    assert refined.valid.tolist() == result.valid.tolist() and np.allclose(refined.confidence[[0, 6, 8]], [0.2, 0, 0.9])
    assert np.allclose(refined.region_confidence[[1, 7, 9], 0], [0.2, 0, 0.7])
    moved = replace(followed, neck_pose=followed.neck_pose + np.arange(FRAMES, dtype=np.float32)[:, None])
    held = in_fades(moved, info.faded, found).neck_pose
    assert (held[[6, 7]] == moved.neck_pose[[5, 8]]).all(), "a lost frame holds what the nearest one does"


def test_a_relative_head_is_found_from_another_folder(head, truth, tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "c", head, truth)
    (tmp_path / "flame.pkl").touch()
    monkeypatch.chdir(tmp_path)
    track_clip(folder, replace(options(head, overlay=False, valid_maps=False), head="flame.pkl"))
    monkeypatch.chdir(folder)
    assert Performance.load(folder).head_source == str(tmp_path / "flame.pkl")


def test_head_stands_near_the_origin(head, truth, tmp_path):
    result = track_clip(make_folder(tmp_path / "c", head, truth), options(head, overlay=False, valid_maps=False))
    np.testing.assert_array_equal(result.viewmat[:3, :3], np.diag([1, -1, -1]))
    assert np.abs(np.median(result.translation[:, 2])) < 2e-3 and result.viewmat[2, 3] > 0.3
    assert not (tmp_path / "c" / "valid").exists() and not (tmp_path / "c" / "overlay.mp4").exists()


def test_what_lies_below_the_neck_is_ignored(head, truth, tmp_path):
    folder = make_folder(tmp_path / "c", head, truth)
    result = track_clip(folder, options(head, overlay=False))
    clip = Clip.open(folder)
    vertices = head_vertices(result, head)
    for frame in range(FRAMES):
        valid = clip.valid(frame)
        ring = vertices[frame, head.regions["neck_ring"]]
        lowest = (ring[:, 1] / ring[:, 2] * result.K[1, 1] + result.K[1, 2]).max()
        if lowest < SIZE - 14:
            assert valid[int(lowest) + 10 :].max() == 0
        nose = vertices[frame, 4]
        column, row = (nose[:2] / nose[2] * result.K[0, 0] + result.K[:2, 2]).astype(int)
        assert valid[row - 20 : row + 10, column - 10 : column + 10].min() == 255
        assert valid[:20].min() == 255  # background above counts
        assert np.abs(np.diff(valid[:, column].astype(int))).max() < 160  # the border is soft


def test_missing_frames_are_marked_everywhere(head, truth, tmp_path):
    found = np.ones(FRAMES, bool)
    found[3:5] = False
    folder = make_folder(tmp_path / "c", head, truth, found)
    result = track_clip(folder, options(head))
    assert (result.valid == found).all()
    clip = Clip.open(folder)
    assert clip.valid(3).max() == 0 and clip.valid(2).max() == 255


def test_clip_without_mattes(head, truth, tmp_path):
    folder = make_folder(tmp_path / "c", head, truth)
    for matte in (folder / "mattes").iterdir():
        matte.unlink()
    (folder / "mattes").rmdir()
    assert track_clip(folder, options(head)).valid.all()


def test_bad_folders_are_refused(head, truth, tmp_path):
    with pytest.raises(FormatError, match="import the video first"):
        track_clip(tmp_path, options(head))
    folder = make_folder(tmp_path / "c", head, truth)
    save_landmarks(folder / "landmarks.npz", np.zeros((3, 478, 3)), np.ones(3, bool), "truth")
    with pytest.raises(InputError, match="3 frames"):
        track_clip(folder, options(head))
    save_landmarks(folder / "landmarks.npz", np.zeros((FRAMES, 478, 3)), np.zeros(FRAMES, bool), "truth")
    with pytest.raises(NoFaceError):
        track_clip(folder, options(head))
    assert not (folder / "tracking.npz").exists()


def test_cancelling_leaves_no_half_written_file(head, truth, tmp_path):
    class Stop(Progress):
        def update(self, stage, done, total, message="", **figures):
            self.cancelled = stage == "overlay" and done >= 5

    folder = make_folder(tmp_path / "c", head, truth)
    with pytest.raises(Cancelled):
        track_clip(folder, options(head), Stop())
    assert not (folder / "tracking.npz").exists() and not list(folder.glob("*.mp4"))
    assert track_clip(folder, options(head)).valid.all()


def test_source_shape_sets_the_camera_prior(head, truth, tmp_path):
    """A crop out of a wide phone picture: the principal point is the whole picture's, its view is a phone's."""
    folder = make_folder(tmp_path / "c", head, truth)
    info = ClipInfo(
        "x.mp4", (1920, 1080), 0.0, None, (300, 100, 512), SIZE, SIZE, 25.0, list(truth.timestamps), "external"
    )
    write_info(folder, info)
    result = track_clip(folder, options(head, overlay=False, valid_maps=False))
    np.testing.assert_allclose(result.K[:2, 2], [(960 - 300) / 2, (540 - 100) / 2])
    view = 2 * np.degrees(np.arctan(960 / 2 / result.K[0, 0]))
    assert 40 < view < 70


@pytest.mark.slow
def test_real_clip(test_data, tmp_path):
    """Two seconds of a real person: every frame is tracked, and well."""
    from blendsplat.video import ClipOptions, import_clip

    clip = import_clip(test_data("video/d18.mp4"), tmp_path / "d18", ClipOptions(end=1.0))
    result = track_clip(clip.directory, TrackOptions(overlay=False))
    assert result.valid.all()
    assert result.figures["landmark_error"] < 0.03
    assert np.abs(np.degrees(result.neck_pose)).max() < 15  # he looks straight at us


def test_tracking_again_replaces_all_of_the_former_tracking_at_once_or_nothing(head, truth, tmp_path):
    """Stopped while it draws, it must not leave the valid maps of one fit beside the poses of another."""
    folder = make_folder(tmp_path, head, truth)
    track_clip(folder, options(head))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    class StopWhileDrawing(Progress):
        def update(self, stage: str, done: float, *_: object, **__: object) -> None:
            self.cancelled = self.cancelled or (stage == "overlay" and done >= FRAMES - 1)

    with pytest.raises(Cancelled):
        track_clip(folder, replace(options(head), lens_mm=90.0), StopWhileDrawing())
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    track_clip(folder, replace(options(head), lens_mm=90.0))
    changed = {path.relative_to(folder).parts[0] for path, data in before.items() if path.read_bytes() != data}
    assert changed == {"valid", "overlay.mp4", "camera.json", "tracking.npz"}
