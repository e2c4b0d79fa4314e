# SPDX-License-Identifier: Apache-2.0
"""The one-euro filter against the published recipe, and what an artist expects: calm at rest, no lag, no jump at pi."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blendsplat.heads.one_euro import (
    LIVELY,
    SPEED_CUTOFF,
    OneEuro,
    one_euro,
    one_euro_rotations,
    smoothed,
    smoothed_rotations,
)

TIMES = np.arange(120) / 30.0


def published(values: np.ndarray, times: np.ndarray, min_cutoff: float, beta: float) -> list[float]:
    """Casiez et al. 2012, the appendix's algorithm for one number, as scalars."""

    def alpha(cutoff: float, rate: float) -> float:
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau * rate)

    shown, before, slope = [float(values[0])], float(values[0]), 0.0
    for value, step in zip(values[1:], np.diff(times), strict=True):
        rate = 1 / step
        slope = alpha(SPEED_CUTOFF, rate) * (value - before) * rate + (1 - alpha(SPEED_CUTOFF, rate)) * slope
        share = alpha(min_cutoff + beta * abs(slope), rate)
        shown.append(share * value + (1 - share) * shown[-1])
        before = float(value)
    return shown


@pytest.mark.parametrize("irregular", [False, True])
def test_it_is_the_published_filter(irregular: bool) -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.08, 120)) if irregular else TIMES
    values = np.cumsum(rng.normal(size=(120, 2)), 0)
    filtered = one_euro(values, times, OneEuro(0.3, 0.7, unit=2.0))
    for column in range(2):
        want = published(values[:, column], times, 1 / (2 * math.pi * 0.3), LIVELY * 0.7 / 2)
        np.testing.assert_allclose(filtered[:, column], want, rtol=1e-9)


def test_what_stands_still_stays() -> None:
    still = np.full((120, 3), 0.37, np.float32)
    np.testing.assert_array_equal(smoothed(still, TIMES, OneEuro(0.5)), still)
    turned = np.repeat(np.float32([[[0.4, -2.9, 0.3], [0, 0, 0]]]), 120, 0)
    np.testing.assert_allclose(smoothed_rotations(turned, TIMES, OneEuro(0.5)), turned, atol=1e-6)


def test_nothing_is_done_without_seconds_or_frames() -> None:
    values = np.random.default_rng(1).normal(size=(120, 1, 3)).astype(np.float32)
    assert smoothed(values, TIMES, OneEuro(0.0)) is values and smoothed_rotations(values, TIMES, OneEuro(0.0)) is values
    assert smoothed(values[:1], TIMES[:1], OneEuro(1.0)).shape == (1, 1, 3)
    assert smoothed_rotations(values[:1], TIMES[:1], OneEuro(1.0)).shape == (1, 1, 3)


@pytest.mark.parametrize("rotations", [False, True])
def test_a_step_arrives_without_lag_or_overshoot(rotations: bool) -> None:
    step = np.where(TIMES < 2.0, 0.0, 1.0)
    filtered = OneEuro(0.2, 1.0)
    if rotations:
        path = smoothed_rotations(np.stack([0 * step, step, 0 * step], 1)[:, None], TIMES, filtered)[:, 0, 1]
    else:
        path = smoothed(step[:, None], TIMES, filtered)[:, 0]
    assert (np.diff(path) >= -1e-9).all() and path.min() >= -1e-9 and path.max() <= 1 + 1e-9
    assert path[0] == pytest.approx(0, abs=0.01) and path[-1] == pytest.approx(1, abs=0.01)
    half = np.interp(0.5, path, TIMES)
    assert half == pytest.approx(2.0, abs=0.025), "in the middle of the two frames that the step lies between"
    online = one_euro(step[:, None], TIMES, filtered)[:, 0]
    assert np.interp(0.5, online, TIMES) >= half, "the live filter cannot know what comes"


def test_trembling_goes_and_movement_stays() -> None:
    rng = np.random.default_rng(3)
    rest, talk = np.zeros(120), 0.4 * np.sin(2 * np.pi * 2.5 * TIMES) ** 2
    tremble = 0.01 * rng.normal(size=120)
    for seconds in (0.1, 0.3):
        calm = smoothed((rest + tremble)[:, None], TIMES, OneEuro(seconds))[:, 0]
        assert np.diff(calm).std() < 0.4 * np.diff(tremble).std()
        spoken = smoothed(talk[:, None], TIMES, OneEuro(seconds))[:, 0]
        assert np.ptp(spoken) > 0.8 * np.ptp(talk), "five syllables a second"
        assert np.corrcoef(spoken, talk)[0, 1] > 0.99
    dull = smoothed(talk[:, None], TIMES, OneEuro(0.3, beta=0.0))[:, 0]
    assert np.ptp(dull) < 0.5 * np.ptp(talk)


def test_a_turn_through_pi_is_no_jump() -> None:
    """Rotation vectors jump from pi to -pi there; the rotation does not."""
    angles = np.linspace(2.5, 3.9, 120)
    turns = Rotation.from_rotvec(np.stack([0 * angles, angles, 0 * angles], 1))
    rotvecs = turns.as_rotvec()[:, None]
    assert np.abs(np.diff(rotvecs[:, 0, 1])).max() > 6
    for path in (one_euro_rotations(rotvecs, TIMES, OneEuro(0.2)), smoothed_rotations(rotvecs, TIMES, OneEuro(0.2))):
        shown = Rotation.from_rotvec(path[:, 0])
        assert (shown[1:] * shown[:-1].inv()).magnitude().max() < 0.03
        assert (shown * turns.inv()).magnitude()[10:-10].max() < 0.1


def test_where_the_head_is_turned_to_makes_no_difference() -> None:
    """On SO(3): filtering a turned path turns the filtered path."""
    rng = np.random.default_rng(4)
    path = 0.2 * np.cumsum(rng.normal(size=(120, 1, 3)), 0) / 10
    turn = Rotation.from_rotvec([0.5, -1.2, 0.8])
    turned = (turn * Rotation.from_rotvec(path[:, 0])).as_rotvec()[:, None]
    want = turn * Rotation.from_rotvec(smoothed_rotations(path, TIMES, OneEuro(0.3))[:, 0])
    have = Rotation.from_rotvec(smoothed_rotations(turned, TIMES, OneEuro(0.3))[:, 0])
    assert (want.inv() * have).magnitude().max() < 1e-6


def test_the_frame_rate_hardly_matters() -> None:
    """The same movement at 25 and 60 frames a second comes out alike: the filter goes by time."""
    shown = []
    for fps in (25, 60):
        times = np.arange(4 * fps) / fps
        values = smoothed((0.5 * np.sin(2 * times) + 0.1 * np.sin(9 * times))[:, None], times, OneEuro(0.2))[:, 0]
        shown.append(np.interp(np.linspace(0.5, 3.4, 50), times, values))
    assert np.abs(shown[0] - shown[1]).max() < 0.02 < np.ptp(shown[0])


def test_times_that_stand_still_or_go_back() -> None:
    times = np.array([0.0, 0.04, 0.04, 0.03, 0.12])
    values = np.arange(5.0)[:, None]
    assert np.isfinite(smoothed(values, times, OneEuro(0.2))).all()
    assert np.isfinite(smoothed_rotations(values[:, None] * np.ones(3), times, OneEuro(0.2))).all()
