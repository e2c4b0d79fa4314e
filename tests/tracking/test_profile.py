# SPDX-License-Identifier: Apache-2.0
"""Turned towards a profile, a frame is trusted less; up to 45 degrees nothing changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hostile_clips
from blendsplat.heads.performance import Performance
from blendsplat.refinement.regions import REGIONS
from blendsplat.tracking.doubts import TRUSTED
from blendsplat.tracking.profile import LEAST, in_profile, turn_trust, turns


def turned(degrees: np.ndarray, aside: float = 0.0, pitch: float = 0.0) -> Performance:
    """A confirmed tracking whose head is turned by degrees [F] from straight ahead, standing ``aside`` metres."""
    truth = hostile_clips.plain().truth.select(np.arange(len(degrees)))
    neck = np.zeros((len(degrees), 3), np.float32)
    neck[:, 1] = np.radians(degrees)
    if pitch:
        neck[:] = [np.radians(pitch), 0, 0]
    place = np.zeros_like(truth.translation)
    place[:, 0] = aside
    sure = np.full((len(degrees), len(REGIONS)), 0.9, np.float32)
    return replace(
        truth, root_pose=np.zeros_like(neck), neck_pose=neck, translation=place, region_confidence=sure,
        regions=REGIONS, confidence=sure[:, 0].copy(), figures={"confidence": 0.9},
    )  # fmt: skip


def test_ordinary_turns_change_nothing() -> None:
    ordinary = turned(np.linspace(-45, 45, 20))
    np.testing.assert_allclose(turns(ordinary), np.abs(np.linspace(-45, 45, 20)), atol=0.01)
    assert in_profile(ordinary) is ordinary
    nodding = turned(np.zeros(3), pitch=60)
    assert in_profile(nodding) is nodding, "a nod is no turn"


@pytest.mark.parametrize("side", [-1, 1])
def test_trust_falls_towards_the_profile(side: int) -> None:
    angles = np.array([0.0, 50, 54, 56, 59, 62, 66, 90])
    found = in_profile(turned(side * angles))
    assert (np.diff(found.confidence[1:7]) < 0).all() and found.confidence[0] == found.confidence[1] == np.float32(0.9)
    np.testing.assert_allclose(
        found.region_confidence, 0.9 * turn_trust(angles)[:, None].repeat(len(REGIONS), 1), rtol=1e-4
    )
    assert found.region_confidence[4].max() < TRUSTED, "read as 59 degrees: the truth is 67"
    np.testing.assert_allclose(found.confidence[6:], 0.9 * LEAST, rtol=1e-5)
    assert found.figures["confidence"] == pytest.approx(found.confidence.mean())


def test_the_turn_is_from_the_camera_not_from_straight_ahead() -> None:
    """Beside the lens's axis a face that looks ahead is seen from the side."""
    straight = turned(np.zeros(3), aside=0.0)
    distance = np.linalg.inv(straight.viewmat.astype(float))[2, 3]
    aside = turned(np.zeros(3), aside=float(distance))
    np.testing.assert_allclose(turns(aside), 45, atol=1)


def test_lost_frames_keep_their_nothing() -> None:
    tracking = turned(np.array([0.0, 60, 60]))
    valid = np.array([True, True, False])
    found = in_profile(replace(tracking, valid=valid))
    assert found.confidence[1] < 0.5 and found.confidence[2] == tracking.confidence[2]
