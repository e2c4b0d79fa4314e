# SPDX-License-Identifier: Apache-2.0
"""Sticking is measured on a pattern that moves as told: what trembles, crawls, lags and is damped shows as such."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blendsplat.errors import InputError
from blendsplat.evaluation.sticking import (
    SIDE,
    evaluate_sticking,
    face_points,
    motions_of,
    overlay_paths,
    picture_motion,
)
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from blendsplat.synthetic.motion import wandering
from blendsplat.video import Clip
from blendsplat.video.clip import ClipInfo, encode_png, frame_path, write_info
from tiny_clip import tiny_tracking

FRAMES, WIDTH = 60, 256
AWAY = 60.0  # metres: so far that every point of the face moves by the same pixels
FOCAL = 0.9 * WIDTH * AWAY / 0.3


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


def pattern(shift: np.ndarray, width: int = WIDTH) -> np.ndarray:
    """A picture [width,width,3] uint8 of waves of many lengths, moved by ``shift`` [2] pixels, exactly."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:width, 0:width] + 0.5
    x, y = (x - shift[0]) * SIDE / width, (y - shift[1]) * SIDE / width
    total = np.zeros((width, width))
    for length in np.geomspace(14, 300, 28):  # long ones are stronger, as in any picture
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        total += length**0.5 * np.cos(2 * np.pi / length * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    return np.repeat((128 + 1.7 * total).clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def path() -> np.ndarray:
    """Pixels [F,2] of where the head is, in pictures of WIDTH: rests and quick moves."""
    return 9 * wandering(np.arange(FRAMES) / 25, 2, (0.2, 0.5), (0.2, 0.4), np.random.default_rng(8))


def placed(head: HeadModel, at: np.ndarray) -> Performance:
    """A still face before a long lens, seen at pixels [F,2] from the picture's middle."""
    tracking = tiny_tracking(head, len(at), WIDTH)
    tracking.expression[:], tracking.neck_pose[:] = 0, 0
    tracking.K = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, WIDTH / 2], [0, 0, 1]], np.float32)
    tracking.viewmat = np.diag([1, -1, -1, 1]).astype(np.float32)
    tracking.viewmat[2, 3] = AWAY
    tracking.translation = (np.pad(at, ((0, 0), (0, 1))) * [1, -1, 0] * AWAY / FOCAL).astype(np.float32)
    return tracking


def clip_of(folder: Path, pictures: list[np.ndarray], shots: tuple[int, ...] = (0,)) -> Clip:
    (folder / "images").mkdir(parents=True)
    for index, picture in enumerate(pictures):
        frame_path(folder, "images", index).write_bytes(encode_png(picture))
    size, times = pictures[0].shape[0], [index / 25 for index in range(len(pictures))]
    write_info(
        folder, ClipInfo("v", (size, size), 0.0, None, (0, 0, size), size, size, 25.0, times, "none", shots=list(shots))
    )
    return Clip.open(folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return clip_of(tmp_path_factory.mktemp("moving") / "clip", [pattern(shift) for shift in path()])


def test_the_truth_sticks(clip: Clip, head: HeadModel) -> None:
    figures = evaluate_sticking(clip, placed(head, path()), head)
    assert figures["stick_px"] < 0.05 and figures["tremble_px"] < 0.05 and figures["crawl_px"] < 0.05
    assert figures["fast_px"] < 0.1 and abs(figures["lag_frames"]) < 0.05 and abs(figures["follow"] - 1) < 0.01
    assert figures["moments_still"] > 0.2 and figures["moments_fast"] > 0.2 and figures["points"] > 100


def test_trembling_is_told_from_crawling(clip: Clip, head: HeadModel) -> None:
    swing = 0.25 * (-1.0) ** np.arange(FRAMES)[:, None]  # half a pixel a frame at SIDE
    trembling = evaluate_sticking(clip, placed(head, path() + swing * [WIDTH / SIDE, 0]), head)
    assert trembling["tremble_px"] == pytest.approx(0.5, abs=0.03)
    assert trembling["stick_px"] == pytest.approx(0.5, abs=0.03) and trembling["crawl_px"] < 0.05
    breathing = placed(head, path())
    breathing.zoom = (1 + 0.004 * (-1.0) ** np.arange(FRAMES)).astype(np.float32)
    figures = evaluate_sticking(clip, breathing, head)
    assert figures["crawl_px"] > 0.3 and figures["crawl_px"] > 1.5 * figures["tremble_px"]


def test_lagging_and_damping_are_told_apart(clip: Clip, head: HeadModel) -> None:
    where = path()
    late = evaluate_sticking(clip, placed(head, where[np.maximum(np.arange(FRAMES) - 1, 0)]), head)
    assert late["lag_frames"] == pytest.approx(1, abs=0.06) and late["follow"] == pytest.approx(1, abs=0.03)
    half = 0.5 * (where + where[np.maximum(np.arange(FRAMES) - 1, 0)])
    assert evaluate_sticking(clip, placed(head, half), head)["lag_frames"] == pytest.approx(0.5, abs=0.08)
    damped = evaluate_sticking(clip, placed(head, 0.6 * where), head)
    assert damped["follow"] == pytest.approx(0.6, abs=0.02) and abs(damped["lag_frames"]) < 0.05
    assert damped["fast_px"] > 1


def test_cuts_and_frames_without_a_face_are_left_out(tmp_path: Path, head: HeadModel) -> None:
    where = path()[:24]
    pictures = [pattern(shift + (40 if frame >= 12 else 0)) for frame, shift in enumerate(where)]
    pictures[5] = 255 - pictures[5]
    tracking = placed(head, where)
    tracking.valid[5] = False
    figures = evaluate_sticking(clip_of(tmp_path / "cut", pictures, (0, 12)), tracking, head)
    assert figures["fast_px"] < 0.1 and figures["follow"] == pytest.approx(1, abs=0.02)
    known = motions_of(Clip.open(tmp_path / "cut"), tracking, head).known.any(1)
    assert np.flatnonzero(~known).tolist() == [4, 5, 11]


@pytest.mark.slow
def test_pictures_of_another_size_give_the_same_figures(tmp_path: Path, head: HeadModel, clip: Clip) -> None:
    swing = 0.3 * (-1.0) ** np.arange(FRAMES)[:, None] * [0, WIDTH / SIDE]
    tracking = placed(head, path() + swing)
    small = evaluate_sticking(clip, tracking, head)
    double = replace(tracking, width=2 * WIDTH, height=2 * WIDTH, K=tracking.K * np.array([[2], [2], [1]], np.float32))
    large = evaluate_sticking(clip_of(tmp_path / "l", [pattern(2 * s, 2 * WIDTH) for s in path()]), double, head)
    for name in ("stick_px", "tremble_px", "lag_frames", "follow"):
        assert small[name] == pytest.approx(large[name], abs=0.03), name


def test_what_cannot_be_told_is_not_a_number(tmp_path: Path, head: HeadModel) -> None:
    blank = clip_of(tmp_path / "blank", [np.full((WIDTH, WIDTH, 3), 200, np.uint8)] * 3)
    figures = evaluate_sticking(blank, placed(head, path()[:3]), head)
    assert np.isnan(figures["stick_px"]) and np.isnan(figures["lag_frames"]) and figures["points"] == 0
    still = clip_of(tmp_path / "still", [pattern(np.zeros(2))] * 12)
    figures = evaluate_sticking(still, placed(head, np.zeros((12, 2))), head)
    assert figures["stick_px"] < 0.02 and np.isnan(figures["fast_px"]) and np.isnan(figures["lag_frames"])
    with pytest.raises(InputError, match="different clips"):
        evaluate_sticking(still, placed(head, path()[:3]), head)


def test_one_frame_says_nothing(tmp_path: Path, head: HeadModel) -> None:
    one = clip_of(tmp_path / "one", [pattern(np.zeros(2))])
    assert np.isnan(evaluate_sticking(one, placed(head, np.zeros((1, 2))), head)["stick_px"])


def test_points_are_skin_that_the_camera_sees(head: HeadModel) -> None:
    faces = face_points(head)
    corners = head.faces.numpy()[faces]
    for name in ("lips", "left_eyelids", "right_eyeball", "scalp", "left_ear"):
        assert not np.isin(corners, head.regions[name]).any(), name
    assert len(np.unique(faces)) == len(faces) > 200
    tracking = placed(head, np.zeros((4, 2)))
    tracking.neck_pose[1, 1], tracking.neck_pose[2, 1] = np.pi, 1.2
    tracking.translation[3, 0] = 10
    pixels, seen = overlay_paths(tracking, head, faces)
    shares = seen.mean(1)
    assert shares[0] > 0.5 and shares[1] == 0 and 0.2 * shares[0] < shares[2] < 0.8 * shares[0] and shares[3] == 0
    middles = head.template.numpy()[corners].mean(1)
    expected = middles[:, :2] * [1, -1] * FOCAL / (AWAY - middles[:, 2:]) + WIDTH / 2
    np.testing.assert_allclose(pixels[0], expected, atol=0.05)  # an expression of zeros, a shape of zeros
    with pytest.raises(InputError, match="which of its vertices"):
        face_points(replace(head, regions={}))


def test_the_pictures_motion_is_exact_to_a_hundredth() -> None:
    points = np.random.default_rng(2).uniform(60, 196, (200, 2))
    for shift in ((0.3, -0.2), (3.7, 5.1), (-11.0, 4.0)):
        before, after = (pattern(np.array(s))[..., 0] for s in ((0, 0), shift))
        motion, certain = picture_motion(before, after, points)
        assert certain.mean() > 0.9
        assert np.linalg.norm(np.median(motion[certain], 0) - shift) < 0.01
        assert np.percentile(np.linalg.norm(motion[certain] - shift, axis=1), 95) < 0.08
