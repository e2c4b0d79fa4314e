# SPDX-License-Identifier: Apache-2.0
"""A lens that zooms during the take: found where the artist says so, and honoured by what is drawn over the video."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hostile_clips
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, frame_intrinsics
from blendsplat.landmarks.detector import load_landmarks
from blendsplat.progress import Progress
from blendsplat.tracking import TrackOptions, evaluate_tracking, track_clip
from blendsplat.tracking.drawn_head import drawn_frames
from blendsplat.tracking.pipeline import write_pictures
from blendsplat.video import Clip
from synthetic_clip import FRAMES, SIZE, head_with_neck, make_folder, options
from synthetic_head import make_truth

ZOOM = np.linspace(1, 1.3, FRAMES).astype(np.float32)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return head_with_neck()


@pytest.fixture(scope="module")
def truth(head: HeadModel) -> Performance:
    return make_truth(head, FRAMES, size=SIZE, fov=27)


def ramp_error(tracking: Performance, zoom: np.ndarray) -> float:
    """Largest relative error of the zoom, of which only proportions are the truth's."""
    ratio = tracking.zoom / zoom
    return float(np.abs(ratio / np.median(ratio) - 1).max())


def test_a_zoom_is_found_and_the_head_stays_where_it_is(head, truth, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "c", head, replace(truth, zoom=ZOOM))
    plain = track_clip(folder, options(head, refine="none", overlay=False, valid_maps=False))
    assert (plain.zoom == 1).all() and plain.translation[:, 2].std() > 0.02, "without the option it is a step forwards"
    assert "zoom" not in json.loads((folder / "camera.json").read_text())
    tracking = track_clip(folder, options(head, refine="none", zooms=True))
    assert ramp_error(tracking, ZOOM) < 0.03
    assert tracking.translation[:, 2].std() < 0.004
    figures = evaluate_tracking(tracking, replace(truth, zoom=ZOOM), head)
    assert figures["rotation_error_deg"] < 1.5 and figures["vertex_error_mm"] < 3
    np.testing.assert_array_equal(Performance.load(folder).zoom, tracking.zoom)
    np.testing.assert_allclose(json.loads((folder / "camera.json").read_text())["zoom"], tracking.zoom)
    assert (folder / "overlay.mp4").exists()


def test_what_is_drawn_over_the_video_has_each_frames_focal_length(head, truth, tmp_path: Path) -> None:
    """Overlay and valid map of a frame are those of a clip whose one lens is that frame's."""
    folder = make_folder(tmp_path / "c", head, replace(truth, zoom=ZOOM))
    given = options(head, refine="none", overlay=False, zooms=True)
    tracking = track_clip(folder, given)
    clip, points = Clip.open(folder), load_landmarks(folder / "landmarks.npz")[0][..., :2]
    maps = [clip.valid(frame) for frame in range(FRAMES)]
    for frame in (0, FRAMES - 1):
        alone = replace(tracking, K=frame_intrinsics(tracking)[frame], zoom=np.ones(FRAMES, np.float32))
        drawn = [next(drawn_frames(clip, head, one, np.array([frame]))).face_ids for one in (tracking, alone)]
        np.testing.assert_array_equal(*drawn)
        person = clip.matte(frame)[: SIZE - 30] > 0
        covered = drawn[0][: SIZE - 30] >= 0
        assert (person & covered).sum() > 0.96 * (person | covered).sum()
        stage = tmp_path / f"stage {frame}"
        write_pictures(clip, head, alone, points, given, Progress(), stage, np.array([frame]))
        assert np.abs(Clip(stage, clip.info).valid(frame).astype(int) - maps[frame]).mean() < 0.5


def test_one_lens_stays_one_lens(head, truth, tmp_path: Path) -> None:
    """Told that it zooms, a clip that does not has next to no zoom: the head's own slow steps are all that there is."""
    folder = make_folder(tmp_path / "c", head, truth)
    tracking = track_clip(folder, options(head, refine="none", overlay=False, valid_maps=False, zooms=True))
    assert np.ptp(tracking.zoom) < 0.06
    assert evaluate_tracking(tracking, truth, head)["rotation_error_deg"] < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("refine", ["none", "dense"])
def test_a_zoom_in_rendered_footage(refine: str, tmp_path: Path) -> None:
    clip = hostile_clips.zoomed(hostile_clips.plain())
    folder = clip.write(tmp_path / "c")
    tracking = track_clip(folder, TrackOptions(refine=refine, zooms=True, overlay=False, valid_maps=False))
    assert ramp_error(tracking, clip.truth.zoom) < 0.04, "the actor himself steps back and forth by 2 %"
    assert tracking.translation[:, 2].std() < 0.005
    figures = evaluate_tracking(tracking, clip.truth, load_head("human"))
    assert figures["focal_error_percent"] < 8 and figures["vertex_error_mm"] < 2.4
