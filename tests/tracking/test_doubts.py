# SPDX-License-Identifier: Apache-2.0
"""What covers a face: the confidence drops there and nowhere else, its pixels do not count, and the user is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import hostile_clips
from blendsplat.heads.load import load_head
from blendsplat.heads.performance import Performance
from blendsplat.landmarks import points as pts
from blendsplat.progress import Progress
from blendsplat.refinement.refine import judge_clip
from blendsplat.refinement.regions import REGIONS
from blendsplat.tracking import TrackOptions
from blendsplat.tracking.doubts import (
    DOUBTED,
    TRUSTED,
    WATCHED,
    PixelTrust,
    doubtful_stretches,
    notes_on_doubts,
    trust,
)
from blendsplat.tracking.pipeline import write_pictures
from blendsplat.video import Clip
from hostile_clips import FRAMES, SIZE, Footage
from synthetic_head import make_truth

COVERED = np.arange(6, 15)
USUAL = np.arange(FRAMES - 5)  # the last ones show a pose that no other frame shows
FREE = np.setdiff1d(USUAL, COVERED)


@pytest.fixture(scope="module")
def clip() -> Footage:
    return hostile_clips.plain()


def judged(clip: Footage, images: np.ndarray | None = None) -> Performance:
    shown = clip.images if images is None else images
    return judge_clip(
        load_head("human"), clip.truth, lambda frame: shown[frame], lambda frame: clip.mattes[frame],
        clip.points[..., :2],
    )  # fmt: skip


def of(tracking: Performance, *names: str) -> np.ndarray:
    return tracking.region_confidence[:, [REGIONS.index(name) for name in names]]


def boxed(clip: Footage) -> np.ndarray:
    """A black box over the mouth."""
    images, lips = clip.images.copy(), list(pts.OUTER_LIPS)
    for frame in COVERED:
        x, y = clip.points[frame, lips, :2].mean(0).astype(int)
        images[frame, y - 13 : y + 14, x - 22 : x + 23] = 10
    return images


def test_an_untouched_clip_is_trusted(clip: Footage) -> None:
    tracking = judged(clip)
    assert of(tracking, *WATCHED)[USUAL].min() > TRUSTED and tracking.confidence[USUAL].min() > 0.9
    switched = hostile_clips.light_switched(clip)
    lit = judged(switched, switched.images)
    assert np.median(of(lit, *WATCHED), 0).min() > 0.9, "another lamp covers nothing"


def test_a_box_over_the_mouth_is_seen_there_and_only_there(clip: Footage) -> None:
    tracking = judged(clip, boxed(clip))
    assert of(tracking, "mouth")[COVERED].max() < DOUBTED
    assert of(tracking, "mouth")[FREE].min() > TRUSTED
    assert of(tracking, "left eye", "right eye", "forehead").min(1)[USUAL].min() > TRUSTED
    (note,) = [note for note in notes_on_doubts(tracking) if "mouth" in note]
    assert "covered or not seen in frames 6-14" in note


def test_a_hand_of_the_skins_colour_is_seen(clip: Footage) -> None:
    """Its fingers' shades are not the lips': most frames say so."""
    hidden = hostile_clips.hand_before_the_mouth(clip)
    hand = np.arange(FRAMES // 3, 2 * FRAMES // 3)
    mouth = of(judged(hidden, hidden.images), "mouth")[:, 0]
    assert np.median(mouth[hand]) < 0.5 and mouth[np.setdiff1d(USUAL, hand)].min() > TRUSTED


def test_one_covered_eye_is_not_the_other(clip: Footage) -> None:
    images = clip.images.copy()
    for frame in COVERED:
        x, y = clip.points[frame, list(pts.LEFT_LIDS), :2].mean(0).astype(int)
        cv2.ellipse(images[frame], (int(x), int(y)), (16, 13), 0, 0, 360, (12, 12, 14), -1)
    tracking = judged(clip, images)
    assert of(tracking, "left eye")[COVERED].max() < DOUBTED
    assert of(tracking, "right eye", "mouth")[USUAL].min() > TRUSTED


def test_dark_glasses_all_along_are_told_and_learned(clip: Footage) -> None:
    images = clip.images.copy()
    for frame in range(FRAMES):
        for lids in (pts.LEFT_LIDS, pts.RIGHT_LIDS):
            x, y = clip.points[frame, list(lids), :2].mean(0).astype(int)
            cv2.ellipse(images[frame], (int(x), int(y)), (18, 14), 0, 0, 360, (12, 12, 14), -1)
    tracking = judged(clip, images)
    assert of(tracking, "left eye", "right eye").max() == 0
    (note,) = [note for note in notes_on_doubts(tracking) if "eyes" in note]
    assert note.startswith(f"The eyes are not seen in {FRAMES} of")
    found = PixelTrust.of(tracking, load_head("human"))
    assert found is None or found.shares[:, REGIONS.index("left eye")].min() == 1, "glasses are how the person looks"


def test_a_blurred_stretch_is_not_trusted(clip: Footage) -> None:
    images = clip.images.copy()
    for frame in COVERED:
        images[frame] = cv2.GaussianBlur(images[frame], (0, 0), 6)
    tracking = judged(clip, images)
    assert tracking.confidence[COVERED].max() < 0.5 and tracking.confidence[FREE].min() > 0.85
    assert any("hardly confirm the face in frames 6-14" in note for note in notes_on_doubts(tracking))


def test_covered_pixels_get_no_weight(clip: Footage, tmp_path: Path) -> None:
    read = Clip.open(replace(clip, images=boxed(clip)).write(tmp_path / "clip"))
    frames = np.array([COVERED[4], FREE[2]])
    write_pictures(
        read, load_head("human"), judged(clip, boxed(clip)), clip.points[..., :2], TrackOptions(overlay=False),
        Progress(), tmp_path / "stage", frames,
    )  # fmt: skip
    for frame in frames:
        x, y = clip.points[frame, list(pts.OUTER_LIPS), :2].mean(0).astype(int)
        eyes, valid = clip.points[frame, 168, :2].astype(int), Clip(tmp_path / "stage", read.info).valid(int(frame))
        assert (valid[y - 8 : y + 9, x - 15 : x + 16] == (0 if frame in COVERED else 255)).all()
        assert valid[eyes[1] - 8 : eyes[1] + 3, eyes[0] - 20 : eyes[0] + 21].min() > 230
        assert valid[:20].min() == 255, "background counts"


def test_small_ups_and_downs_change_no_weight() -> None:
    np.testing.assert_allclose(trust(np.array([0.0, DOUBTED, TRUSTED, 0.8, 1.0])), [0, 0, 1, 1, 1])


def test_trackings_that_know_no_regions_stay_as_they_are() -> None:
    head = load_head("human")
    truth = make_truth(head, 4, size=SIZE, fov=27)
    assert PixelTrust.of(truth, head) is None and notes_on_doubts(truth) == ()
    older = replace(truth, regions=("face", "mouth"), region_confidence=np.zeros((4, 2), np.float32))
    assert PixelTrust.of(older, head) is None and notes_on_doubts(older) == ()
    trusted = replace(truth, regions=REGIONS, region_confidence=np.ones((4, len(REGIONS)), np.float32))
    assert PixelTrust.of(trusted, head) is None


def test_stretches_are_joined_and_short_ones_left_out() -> None:
    times = np.arange(40) / 25
    doubtful = np.zeros(40, bool)
    doubtful[[3, 10, 11, 12, 15, 16, 30, 31, 32]] = True
    assert doubtful_stretches(doubtful, times) == [(10, 16), (30, 32)]
    assert doubtful_stretches(np.zeros(40, bool), times) == []
