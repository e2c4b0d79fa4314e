# SPDX-License-Identifier: Apache-2.0
"""A matte of several persons becomes one of the person who is followed."""

from __future__ import annotations

import cv2
import numpy as np

from blendsplat.video import ClipOptions, import_clip
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


def test_an_import_leaves_the_neighbour_out(portrait, tmp_path) -> None:
    person = cv2.resize(portrait[:330, 60:420], (270, 248), interpolation=cv2.INTER_AREA)
    scene = np.full((360, 720, 3), (70, 90, 110), np.uint8)
    scene[40:288, 40:310] = person
    scene[60:209, 520:682] = cv2.resize(person, (162, 149), interpolation=cv2.INTER_AREA)
    video = encode_video(tmp_path / "two.mp4", [scene] * 6)
    clip = import_clip(video, tmp_path / "clip", ClipOptions(crop=(360, 0, 360), size=192))  # the smaller one's square
    points = np.load(clip.directory / "landmarks.npz")
    assert points["found"].all() if "found" in points else True
    wide = import_clip(video, tmp_path / "wide", ClipOptions(size=256))
    components, _ = cv2.connectedComponents((wide.matte(2) > 127).astype(np.uint8))
    assert components == 2, "the background and one person"
