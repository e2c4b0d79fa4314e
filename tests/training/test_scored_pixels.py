# SPDX-License-Identifier: Apache-2.0
"""What is scored is the clip's: it does not move with a head's neck, and other heads' clips can be scored in common."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from blendsplat.errors import InputError
from blendsplat.evaluation.avatar import evaluate_avatar
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts
from blendsplat.landmarks.detector import save_landmarks
from blendsplat.training.scored_pixels import clip_weights, scored_map
from blendsplat.video import Clip
from blendsplat.video.clip import encode_png, frame_path
from tiny_clip import tiny_avatar, tiny_head, write_tiny_clip

SIDE = 200


def face(side: int = SIDE) -> np.ndarray:
    """Landmarks [478,2] of a face in the middle: outline 72 x 100, eyes 40 apart, chin at 0.75 of the side."""
    points = np.full((478, 2), [side / 2, side / 2])
    angles = np.linspace(0, 2 * np.pi, len(pts.OVAL), endpoint=False)
    points[list(pts.OVAL)] = np.stack([np.sin(angles) * 36, -np.cos(angles) * 50], 1) * side / SIDE + side / 2
    points[list(pts.LEFT_IRIS)] = [side / 2 + 20 * side / SIDE, 0.45 * side]
    points[list(pts.RIGHT_IRIS)] = [side / 2 - 20 * side / SIDE, 0.45 * side]
    points[[61, 291]] = [side / 2, 0.62 * side]
    return points


def test_face_hair_and_background_count_and_shoulders_do_not() -> None:
    matte = np.zeros((SIDE, SIDE), np.uint8)
    matte[20:, 40:160] = 255  # hair to both sides, all the way down
    matte[130:, 10:190] = 255  # shoulders as high as the mouth
    weights = scored_map(matte, face())
    assert weights.shape == matte.shape and weights.dtype == np.uint8
    for row, column, counts in (
        (100, 100, True), (145, 100, True),  # face, chin
        (60, 50, True),  # hair beside the brows
        (5, 5, True), (120, 20, True),  # background
        (140, 30, False), (140, 150, False),  # shoulders, hair beside the chin
        (165, 100, False), (190, 5, False),  # neck, and all below the line
    ):  # fmt: skip
        assert (weights[row, column] > 127) == counts, (row, column)
    matte[130:, :40] = matte[130:, 160:] = 0
    assert scored_map(matte, face())[140, 20] == 255, "beside the neck the wall counts: the neck must end there"


def test_a_face_at_the_pictures_edge_is_no_error() -> None:
    for shift in (-400, -100, 100, 400):
        weights = scored_map(np.full((SIDE, SIDE), 255, np.uint8), face() + shift)
        assert weights.shape == (SIDE, SIDE)


@pytest.fixture(name="clips")
def two_heads_clips(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An avatar, and a clip in two folders whose heads end at different heights; landmarks in both."""
    one, two = tmp_path / "one", tmp_path / "two"
    write_tiny_clip(one)
    points = np.repeat(np.pad(face(32), ((0, 0), (0, 1)))[None], 16, 0).astype(np.float32)
    save_landmarks(one / "landmarks.npz", points, np.ones(16, bool), "test")
    shutil.copytree(one, two)
    for folder, last in ((one, 28), (two, 20)):
        weights = np.full((32, 32), 255, np.uint8)
        weights[last:] = 0
        for number in range(16):
            Clip.open(folder).write_valid(number, weights)
    avatar = tiny_avatar(tiny_head())
    avatar.colors.data += 0.3  # not the truth any more, and the error is not the same everywhere
    avatar.save(tmp_path / "a.avatar.npz")
    return tmp_path / "a.avatar.npz", one, two


def test_scores_do_not_depend_on_where_the_head_ends(clips: tuple[Path, Path, Path]) -> None:
    avatar, one, two = clips
    ours, theirs = (evaluate_avatar(avatar, folder) for folder in (one, two))
    assert ours["pixels"] == "clip" and 0.5 < ours["share"] < 1
    assert ours["psnr"] == theirs["psnr"] and ours["ssim"] == theirs["ssim"] and ours["share"] == theirs["share"]
    own = [evaluate_avatar(avatar, folder, pixels="own") for folder in (one, two)]
    assert own[0]["pixels"] == "own" and abs(own[0]["psnr"] - own[1]["psnr"]) > 0.02
    assert [each["share"] for each in own] == [pytest.approx(28 / 32), pytest.approx(20 / 32)]


def test_common_pixels_are_those_that_count_in_all(clips: tuple[Path, Path, Path]) -> None:
    avatar, one, two = clips
    both = [evaluate_avatar(avatar, a, common=[b]) for a, b in ((one, two), (two, one))]
    assert both[0]["pixels"] == "common" and both[0]["share"] == pytest.approx(20 / 32)
    assert both[0]["psnr"] == both[1]["psnr"] == evaluate_avatar(avatar, two, pixels="own")["psnr"]
    tracking = Performance.load(two)
    tracking.valid[[12, 13]] = False
    tracking.save(two / "tracking.npz")
    rows = evaluate_avatar(avatar, one, common=[two])["rows"]
    assert [row["frame"] for row in rows] == [11, 14, 15]
    tracking.valid[11:] = False
    tracking.save(two / "tracking.npz")
    with pytest.raises(InputError, match="tracked in all"):
        evaluate_avatar(avatar, one, common=[two])


def test_another_video_has_nothing_in_common(clips: tuple[Path, Path, Path]) -> None:
    avatar, one, two = clips
    picture = Clip.open(two).image(15)
    frame_path(two, "images", 15).write_bytes(encode_png(picture[::-1]))
    with pytest.raises(InputError, match="not of the same video"):
        evaluate_avatar(avatar, one, common=[two])


def test_a_recording_without_landmarks_is_scored_as_before(clips: tuple[Path, Path, Path]) -> None:
    avatar, one, _ = clips
    (one / "landmarks.npz").unlink()
    assert clip_weights(Clip.open(one)) is None
    scores = evaluate_avatar(avatar, one)
    assert scores["pixels"] == "own" and scores["share"] == pytest.approx(28 / 32)


def test_a_frame_whose_face_was_not_found_keeps_its_own_weights(clips: tuple[Path, Path, Path]) -> None:
    """An empty picture would be a perfect one."""
    _, one, _ = clips
    points = np.repeat(np.pad(face(32), ((0, 0), (0, 1)))[None], 16, 0).astype(np.float32)
    save_landmarks(one / "landmarks.npz", points, np.arange(16) != 12, "test")
    clip = Clip.open(one)
    weights = clip_weights(clip)
    assert weights is not None and np.array_equal(weights(12), clip.valid(12))
    assert not np.array_equal(weights(13), clip.valid(13))
