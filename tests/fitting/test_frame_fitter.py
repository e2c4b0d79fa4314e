# SPDX-License-Identifier: Apache-2.0
"""One frame at a time: near what the whole clip's fit says, steadier than frames alone, and back after lost frames."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from blendsplat.errors import InputError
from blendsplat.fitting.fit import FitOptions, fit_clip
from blendsplat.fitting.frame_fitter import FrameFitter, FrameState
from blendsplat.heads.model import HeadModel
from blendsplat.heads.performance import Performance
from synthetic_head import landmarks_of, make_head, make_truth

FRAMES = 60


@pytest.fixture(scope="module", params=[False, True], ids=["components", "blendshapes"])
def head(request: pytest.FixtureRequest) -> HeadModel:
    return make_head(bounded=request.param)


@pytest.fixture(scope="module")
def truth(head: HeadModel) -> Performance:
    return make_truth(head, FRAMES)


@pytest.fixture(scope="module")
def pixels(head: HeadModel, truth: Performance) -> np.ndarray:
    """Landmarks as a detector gives them: a pixel off."""
    noise = np.random.default_rng(0).normal(size=(FRAMES, 478, 2))
    return (landmarks_of(head, truth)[..., :2] + noise).astype(np.float32)


def followed(fitter: FrameFitter, pixels: np.ndarray | list[np.ndarray | None], times: np.ndarray) -> list[FrameState]:
    states: list[FrameState] = []
    for landmarks, time in zip(pixels, times, strict=True):
        states.append(fitter.fit(landmarks, states[-1] if states else None, float(time)))
    return states


def rows(states: list[FrameState], name: str) -> np.ndarray:
    return np.stack([getattr(state, name) for state in states])


def off(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - wanted) ** 2)))


def test_it_is_near_the_clips_fit(head: HeadModel, truth: Performance, pixels: np.ndarray) -> None:
    options = FitOptions(focal=float(truth.K[0, 0]), offsets=False)
    clip = fit_clip(head, pixels, truth.valid, truth.timestamps, truth.width, truth.height, options)
    states = followed(FrameFitter.of(head, truth), pixels, truth.timestamps)
    assert all(state.valid and state.error < 0.03 for state in states)
    for name, absolute in (
        ("neck_pose", 0.006), ("jaw_pose", 0.006), ("eyes_pose", 0.01), ("expression", 0.04), ("eyelids", 0.03),
    ):  # fmt: skip
        wanted = getattr(truth, name)
        assert off(rows(states, name), wanted) < off(getattr(clip, name), wanted) + absolute, name
    assert off(rows(states, "translation"), truth.translation) < 0.003


def test_it_is_steadier_than_frames_alone(head: HeadModel, truth: Performance, pixels: np.ndarray) -> None:
    tied = followed(FrameFitter.of(head, truth), pixels, truth.timestamps)
    free = followed(FrameFitter.of(head, truth, smoothing=0), pixels, truth.timestamps)

    def tremor(states: list[FrameState]) -> float:
        return float(np.abs(np.diff(rows(states, "neck_pose") - truth.neck_pose, n=2, axis=0)).mean())

    assert tremor(tied) < 0.5 * tremor(free)


def test_the_same_frames_give_the_same_numbers(head: HeadModel, truth: Performance, pixels: np.ndarray) -> None:
    one, two = (followed(FrameFitter.of(head, truth), pixels[:8], truth.timestamps[:8]) for _ in range(2))
    for field in fields(FrameState):
        np.testing.assert_array_equal(rows(one, field.name), rows(two, field.name))


def test_only_the_past_counts(head: HeadModel, truth: Performance, pixels: np.ndarray) -> None:
    whole = followed(FrameFitter.of(head, truth), pixels[:8], truth.timestamps[:8])
    begun = followed(FrameFitter.of(head, truth), pixels[:5], truth.timestamps[:5])
    np.testing.assert_array_equal(rows(begun, "unknowns"), rows(whole[:5], "unknowns"))


def test_a_frame_without_a_face_holds_and_the_next_one_is_found(
    head: HeadModel, truth: Performance, pixels: np.ndarray
) -> None:
    fitter = FrameFitter.of(head, truth)
    shown: list[np.ndarray | None] = list(pixels[:12])
    shown[5], shown[6] = None, np.full((478, 2), np.nan, np.float32)
    shown[7] = np.random.default_rng(1).uniform(0, 512, (478, 2)).astype(np.float32)  # no face at all
    states = followed(fitter, shown, truth.timestamps[:12])
    assert [state.valid for state in states] == [True] * 5 + [False] * 3 + [True] * 4
    np.testing.assert_array_equal(states[6].neck_pose, states[4].neck_pose)
    np.testing.assert_array_equal(states[8].unknowns, fitter.fit(pixels[8], None, 0.0).unknowns)
    assert off(rows(states[8:], "neck_pose"), truth.neck_pose[8:12]) < 0.02
    first = fitter.fit(None, None, 0.0)
    assert not first.valid and first.error == np.inf and not first.expression.any()


def test_after_a_cut_nothing_of_the_old_pose_is_left(head: HeadModel, truth: Performance, pixels: np.ndarray) -> None:
    fitter = FrameFitter.of(head, truth)
    before = fitter.fit(pixels[0], None, 0.0)
    moved = pixels[30] + np.float32(120)
    after = fitter.fit(moved, before, 0.04)
    np.testing.assert_array_equal(after.unknowns, fitter.fit(moved, None, 0.04).unknowns)
    near = fitter.fit(pixels[1], before, 0.04)
    assert not torch.equal(near.unknowns, fitter.fit(pixels[1], None, 0.04).unknowns)


def test_time_that_passed_loosens_the_tie(head: HeadModel, truth: Performance, pixels: np.ndarray) -> None:
    """A pause, or time that runs backwards, is a new start; a slow camera is held less than a quick one."""
    fitter = FrameFitter.of(head, truth)
    before = fitter.fit(pixels[0], None, 1.0)
    alone = fitter.fit(pixels[4], None, 1.0).unknowns
    for time in (3.0, 1.0, 0.5):
        np.testing.assert_array_equal(fitter.fit(pixels[4], before, time).unknowns, alone)
    pull = [float((fitter.fit(pixels[4], before, time).unknowns - alone)[:3].norm()) for time in (1.008, 1.1)]
    assert pull[0] > 2 * pull[1]


def test_a_state_drives_the_persons_head(head: HeadModel, truth: Performance) -> None:
    exact = landmarks_of(head, truth)[..., :2]
    fitter = FrameFitter.of(head, truth)
    state = followed(fitter, exact[:3], truth.timestamps[:3])[-1]
    person = head.personalise(torch.as_tensor(truth.shape))
    wanted = head(truth.select([2]).params())
    assert (person(state.params()) - wanted).norm(dim=-1).mean() < 0.002


def test_another_heads_shape_is_refused(head: HeadModel, truth: Performance) -> None:
    with pytest.raises(InputError, match="'synthetic' has 12 shape parameters, not 3"):
        FrameFitter.of(head, replace(truth, shape=np.zeros(3, np.float32)))
