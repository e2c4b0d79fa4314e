# SPDX-License-Identifier: Apache-2.0
"""A covered mouth does what its sure neighbours do; the rest of the face, and whatever nobody doubts, stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hostile_clips
from blendsplat.fitting.corrections import corrected_frame, empty
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance, head_vertices
from blendsplat.landmarks import points as pts
from blendsplat.refinement.regions import REGIONS, regions_on
from blendsplat.tracking import TrackOptions, pipeline, track_clip
from blendsplat.tracking.leaning import lean, leaned
from hostile_clips import FRAMES

COVERED = np.arange(8, 14)
FREE = np.setdiff1d(np.arange(FRAMES), COVERED)
SIDES = ("Left", "Right")
NO_SHOTS = np.array([], int)
MOVED = ("expression", "jaw_pose", "eyelids", "eyes_pose")
POSE = ("neck_pose", "root_pose", "translation", "shape", "vertex_offsets")


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("human")


@pytest.fixture(scope="module")
def truth() -> Performance:
    return hostile_clips.plain().truth


def doubted(tracking: Performance, frames: np.ndarray, *names: str) -> Performance:
    confidence = np.ones((FRAMES, len(REGIONS)), np.float32)
    confidence[np.ix_(frames, [REGIONS.index(name) for name in names])] = 0
    return replace(tracking, region_confidence=confidence, regions=REGIONS)


def guessed_mouth(truth: Performance, frames: np.ndarray) -> Performance:
    """What landmarks behind a box make of a mouth: it gapes and purses."""
    jaw, expression = truth.jaw_pose.copy(), truth.expression.copy()
    jaw[frames, 0] += 0.12
    expression[frames, truth.expression_names.index("mouthPucker")] += 0.5
    return replace(truth, jaw_pose=jaw, expression=expression)


def same_bits(one: Performance, other: Performance, frames: np.ndarray) -> bool:
    return all((getattr(one, name)[frames] == getattr(other, name)[frames]).all() for name in MOVED)


def missed(head: HeadModel, one: Performance, other: Performance, frames: np.ndarray, *names: str) -> float:
    """Mean distance of the regions' vertices in mm."""
    regions = regions_on(head, head.template.double().numpy())
    here = np.isin(regions, [REGIONS.index(name) for name in names])
    apart = head_vertices(one, head, frames)[:, here] - head_vertices(other, head, frames)[:, here]
    return 1e3 * float(np.linalg.norm(apart, axis=-1).mean())


def test_a_covered_mouth_follows_its_neighbours(head: HeadModel, truth: Performance) -> None:
    covered = doubted(guessed_mouth(truth, COVERED), COVERED, "mouth", "chin")
    found = leaned(head, covered, NO_SHOTS)
    before, after = (missed(head, one, truth, COVERED, "mouth", "chin") for one in (covered, found))
    assert before > 3 and after < 0.4 * before
    rest = ("left eye", "right eye", "forehead")
    assert missed(head, found, covered, COVERED, *rest) < 0.2
    assert same_bits(found, covered, FREE)
    assert all((getattr(found, name) == getattr(covered, name)).all() for name in POSE)
    assert found.figures["frames_leaned"] == len(COVERED)


def test_a_blink_above_a_covered_mouth_stays(head: HeadModel, truth: Performance) -> None:
    expression, blink = truth.expression.copy(), [truth.expression_names.index(f"eyeBlink{side}") for side in SIDES]
    expression[COVERED[2], blink] = 1
    covered = doubted(guessed_mouth(replace(truth, expression=expression), COVERED), COVERED, "mouth", "chin")
    found = leaned(head, covered, NO_SHOTS)
    assert (found.expression[COVERED[2], blink] > 0.9).all()
    assert (found.expression[COVERED[0], blink] < 0.3).all()


def test_nothing_doubted_is_the_same_bits(head: HeadModel, truth: Performance) -> None:
    sure = doubted(truth, NO_SHOTS, "mouth")
    assert leaned(head, sure, NO_SHOTS) is sure
    assert leaned(head, truth, NO_SHOTS) is truth, "a tracking of which nobody knows"
    always = doubted(truth, np.arange(FRAMES), "left eye", "right eye")
    assert leaned(head, always, NO_SHOTS) is always, "glasses all along"
    blinks = doubted(truth, NO_SHOTS, "mouth")
    blinks.region_confidence[COVERED, REGIONS.index("left eye")] = 0.3
    assert leaned(head, blinks, NO_SHOTS) is blinks, "half a doubt, as of a blink"
    blurred = doubted(truth, COVERED, *REGIONS)
    assert leaned(head, blurred, NO_SHOTS) is blurred, "landmarks read a blurred face"


def test_the_ends_hold_the_nearest_sure_frame_of_their_shot() -> None:
    values = np.arange(10.0)[:, None]
    doubt, sure = np.zeros((10, 1)), np.ones((10, 1), bool)
    doubt[[0, 1, 4, 9]] = [[1], [1], [0.5], [1]]
    sure[[0, 1, 4, 9]] = False
    values[4] = 100
    found = lean(values, doubt, np.ones((1, 1, 1)), sure, np.arange(10.0), [np.array([0])])
    led = [2, 2, 2, 3, 4, 5, 6, 7, 8, 8]
    np.testing.assert_allclose(np.delete(found[:, 0], 4), np.delete(led, 4), rtol=0.01)
    assert 4 < found[4, 0] < 60, "half a doubt leads part of the way"


def test_another_shot_leads_nothing(head: HeadModel, truth: Performance) -> None:
    """Covered from the cut on: frames before it show another moment."""
    frames = np.arange(10, 14)
    covered = doubted(guessed_mouth(truth, frames), frames, "mouth", "chin")
    expression = covered.expression.copy()
    expression[:10] = 0.9  # which a look across the cut would take
    found = leaned(head, replace(covered, expression=expression), np.array([10]))
    assert missed(head, found, truth, frames, "mouth") < missed(head, covered, truth, frames, "mouth")
    lone = doubted(guessed_mouth(truth, frames), frames, "mouth", "chin")
    assert same_bits(leaned(head, lone, np.array([10, 14])), lone, np.arange(FRAMES)), "no sure frame in the shot"


def test_a_covered_eye_looks_where_the_other_does(head: HeadModel, truth: Performance) -> None:
    gaze = truth.eyes_pose.copy()
    gaze[COVERED, 0, 1] += 0.4
    covered = doubted(replace(truth, eyes_pose=gaze), COVERED, "left eye")
    found = leaned(head, covered, NO_SHOTS)
    off = np.abs(found.eyes_pose - truth.eyes_pose)[COVERED]
    assert off[:, 0].max() < 0.05 and off[:, 1].max() == 0, "the seen eye is not asked"
    both = leaned(head, doubted(replace(truth, eyes_pose=gaze), COVERED, "left eye", "right eye"), NO_SHOTS)
    sure = truth.eyes_pose[[COVERED[0] - 1, COVERED[-1] + 1]]
    assert (both.eyes_pose[COVERED] >= sure.min(0) - 1e-6).all() and (
        both.eyes_pose[COVERED] <= sure.max(0) + 1e-6
    ).all()


def test_tracking_leads_a_mouth_behind_a_box(head: HeadModel, tmp_path: Path, monkeypatch) -> None:
    """The whole path: pictures doubt the mouth whose landmarks gape."""
    clip = hostile_clips.plain()
    images, points = clip.images.copy(), clip.points.copy()
    lips = [*pts.OUTER_LIPS, *pts.INNER_LIPS]
    for frame in COVERED:
        x, y = clip.points[frame, list(pts.OUTER_LIPS), :2].mean(0).astype(int)
        images[frame, y - 13 : y + 14, x - 22 : x + 23] = 10
        points[frame, lips, 1] += np.where(points[frame, lips, 1] > y, 9, -3)
    folder = replace(clip, images=images, points=points).write(tmp_path / "c")
    options = TrackOptions(head_model=head, refine="none", overlay=False, valid_maps=False)
    found = track_clip(folder, options)
    said = found.expression[COVERED[2]] + np.float32(0.3)
    corrected_frame(empty(found), found, int(COVERED[2]), expression=said).save(folder / "corrections.npz")
    held = track_clip(folder, options)
    assert held.figures["corrected_frames"] == 1
    np.testing.assert_allclose(held.expression[COVERED[2]], said, atol=5e-3)
    (folder / "corrections.npz").unlink()
    monkeypatch.setattr(pipeline, "leaned", lambda head, tracking, shots: tracking)
    guessed = track_clip(folder, options)
    assert found.figures["frames_leaned"] >= len(COVERED) and "frames_leaned" not in guessed.figures
    posed = {name: getattr(clip.truth, name) for name in (*POSE, "viewmat", "K")}
    before, after = (
        missed(head, replace(one, **posed), clip.truth, COVERED, "mouth", "chin") for one in (guessed, found)
    )
    assert after < 0.7 * before, (before, after)
    assert (found.neck_pose == guessed.neck_pose).all() and (found.translation == guessed.translation).all()


def test_lost_frames_lead_nothing_and_repeat_their_neighbour(head: HeadModel, truth: Performance) -> None:
    covered = doubted(guessed_mouth(truth, COVERED), COVERED, "mouth", "chin")
    valid = np.ones(FRAMES, bool)
    valid[COVERED[-1] + 1] = False
    jaw = covered.jaw_pose.copy()
    jaw[~valid] = 2.0  # leads nobody
    found = leaned(head, replace(covered, valid=valid, jaw_pose=jaw), NO_SHOTS)
    assert np.abs(found.jaw_pose).max() < 0.5
    assert (found.jaw_pose[COVERED[-1] + 1] == found.jaw_pose[COVERED[-1]]).all()
