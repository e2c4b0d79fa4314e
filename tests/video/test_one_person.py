# SPDX-License-Identifier: Apache-2.0
"""A matte of several persons becomes one of the person who is followed."""

from __future__ import annotations

import cv2
import numpy as np

from blendsplat.landmarks.detector import load_landmarks
from blendsplat.video import ClipOptions, import_clip, shot_mattes
from blendsplat.video.one_person import only_person
from video_files import encode_video

FACE = np.random.default_rng(0).normal((60, 60), 6, (478, 2))


def persons(*centres: tuple[int, int]) -> np.ndarray:
    matte = np.zeros((200, 200), np.uint8)
    for centre in centres:
        cv2.circle(matte, centre, 25, 255, -1)
    return cv2.GaussianBlur(matte, (0, 0), 2)


def test_whoever_stands_apart_is_taken_out() -> None:
    alone, both = persons((60, 60)), persons((60, 60), (150, 90))
    kept = only_person(both, FACE)
    assert np.abs(kept.astype(int) - alone).max() <= 25 and kept[90, 150] == 0
    assert (kept[:, :90] == both[:, :90]).all(), "the person's own edges stay soft"


def test_what_cannot_be_told_apart_stays() -> None:
    touching, both = persons((60, 60), (105, 70)), persons((60, 60), (150, 90))
    assert (only_person(touching, FACE) == touching).all()
    assert (only_person(both, None) == both).all()
    outside = FACE + 300
    assert (only_person(both, outside) == both).all(), "no face in the matte says nothing"
    assert (only_person(np.zeros((8, 8), np.uint8), FACE) == 0).all()


def test_a_strand_of_hair_beside_the_head_is_its_own() -> None:
    matte = persons((60, 60))
    matte[55:65, 90:92] = 200  # a little air between
    assert (only_person(matte, FACE) == matte).all()


def test_an_import_leaves_the_neighbour_out(portrait, tmp_path, monkeypatch) -> None:
    person = portrait[:330, 60:420]
    scene = np.full((480, 480, 3), (70, 90, 110), np.uint8)
    scene[200:430, 10:260] = cv2.resize(person, (250, 230), interpolation=cv2.INTER_AREA)
    scene[20:150, 330:472] = cv2.resize(person, (142, 130), interpolation=cv2.INTER_AREA)
    video = encode_video(tmp_path / "two.mp4", [scene] * 6)

    def shares(name: str) -> tuple[float, float]:
        """Of the matte inside the followed person's face, and in the neighbour's corner."""
        clip = import_clip(video, tmp_path / name, ClipOptions(crop=(0, 0, 480), size=240))
        points = load_landmarks(clip.directory)[0][2].round().astype(int)
        matte = clip.matte(2) / 255
        return matte[points[:, 1], points[:, 0]].mean(), matte[10:75, 165:236].mean()

    own, neighbour = shares("clip")
    assert own > 0.98 and neighbour < 0.01
    monkeypatch.setattr(shot_mattes, "only_person", lambda matte, points: matte)
    assert shares("before")[1] > 0.1, "else the test shows nothing"
