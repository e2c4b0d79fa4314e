# SPDX-License-Identifier: Apache-2.0
"""A person's neutral face in a performance: found although they talk and blink, and with the mouth closed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from acting import acted
from blendsplat.heads.face_motions import FaceMotions, lips
from blendsplat.heads.face_regions import REGIONS, expression_parts, region_of
from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.heads.neutral import FEWEST_FRAMES, Neutral, quiet_and_often
from blendsplat.heads.performance import Performance
from blendsplat.heads.portrait import region_mask
from other_heads import flame_like
from tiny_clip import tiny_head

HABIT = {"mouthSmileLeft": 0.25, "browOuterUpRight": 0.2, "eyeBlinkLeft": 0.15, "cheekSquintRight": 0.1}


@pytest.fixture(scope="module", name="human")
def human_head() -> HeadModel:
    return load_head("human", landmarks=False)


def found(performance: Performance, motions: FaceMotions) -> Neutral:
    p = performance
    neutral = Neutral.of(p.expression, p.jaw_pose, p.eyes_pose, p.eyelids, motions)
    assert neutral is not None
    return neutral


def opened(head: HeadModel, expression: np.ndarray, jaw: np.ndarray) -> np.ndarray:
    """Vertices [V,3] of the head with one face."""
    params = head.neutral()
    params.expression, params.jaw_pose = torch.from_numpy(expression)[None].float(), torch.from_numpy(jaw)[None].float()
    return head(params)[0].numpy()


@pytest.mark.parametrize("resting", [0.5, 0.15], ids=["half the time", "a moment"])
def test_the_resting_face_is_found(human: HeadModel, resting: float) -> None:
    """By everybody's habit, not by the mean, which has an open mouth and half a smile."""
    performance = acted(human, HABIT, frames=200, resting=resting)
    neutral = found(performance, FaceMotions.of(human))
    want = np.zeros(human.expression_count)
    want[[human.expression_names.index(name) for name in HABIT]] = list(HABIT.values())
    np.testing.assert_allclose(neutral.expression, want, atol=0.02)
    assert abs(neutral.jaw_pose).max() < 0.02 < performance.jaw_pose[:, 0].mean()
    assert np.abs(performance.expression.mean(0) - want).max() > 0.08


def test_who_never_stops_talking_has_a_closed_mouth(human: HeadModel) -> None:
    motions = FaceMotions.of(human)
    performance = acted(human, HABIT, resting=0.0)
    performance.jaw_pose[:, 0] += 0.1  # never closed
    neutral = found(performance, motions)
    assert neutral.jaw_pose[0] == pytest.approx(0, abs=0.02)
    assert np.concatenate([neutral.expression, neutral.jaw_pose]) @ motions.opening == pytest.approx(0, abs=1e-6)


def test_lips_that_touch_by_another_expression_stay_as_they_are(human: HeadModel) -> None:
    """mouthClose undoes what an open jaw does: such a person rests so, and nothing is to be closed."""
    motions, column = FaceMotions.of(human), human.expression_names.index("mouthClose")
    performance = acted(human, {"mouthClose": 0.25})
    performance.jaw_pose[:, 0] += -0.25 * motions.opening[column] / motions.opening[-3]
    neutral = found(performance, motions)
    assert neutral.jaw_pose[0] > 0.08 and neutral.expression[column] == pytest.approx(0.25, abs=0.02)


def test_motions_are_the_heads_own(human: HeadModel) -> None:
    """Against the head's vertices: how far they go, and how far its lips part."""
    motions, rng = FaceMotions.of(human), np.random.default_rng(2)
    faces = np.concatenate([rng.uniform(0, 1, (2, human.expression_count)), 1e-3 * rng.normal(size=(2, 3))], 1)
    a, b = (opened(human, face[:-3], face[-3:]) for face in faces)
    want = np.sqrt(((a - b) ** 2).sum(1).mean())
    assert np.linalg.norm((faces[0] - faces[1]) @ motions.sizes) == pytest.approx(want, rel=0.02)
    wide = opened(human, np.zeros(human.expression_count), np.array([0.2, 0, 0]))
    lower, upper = lips(human.template.double().numpy(), (wide - human.template.numpy()).astype(float))
    assert region_mask(human, "lips")[np.concatenate([lower, upper])].mean() > 0.7
    parted = (wide[upper] - wide[lower])[:, 1].mean() - (human.template[upper] - human.template[lower])[:, 1].mean()
    assert motions.opening[-3] * 0.2 == pytest.approx(float(parted), rel=0.1)


def test_few_frames_tell_no_neutral(human: HeadModel) -> None:
    p, motions = acted(human, frames=FEWEST_FRAMES - 1), FaceMotions.of(human)
    assert Neutral.of(p.expression, p.jaw_pose, p.eyes_pose, p.eyelids, motions) is None
    still = [np.repeat(array[:1], 50, 0) for array in (p.expression, p.jaw_pose, p.eyes_pose, p.eyelids)]
    held = Neutral.of(still[0], still[1], still[2], still[3], motions)
    assert held is not None
    np.testing.assert_allclose(held.expression, p.expression[0], atol=1e-6)


def test_a_head_without_a_mouth() -> None:
    head = tiny_head()
    motions = FaceMotions.of(head)
    assert motions.opener == -1 and not motions.opening.any()
    expression = np.zeros((20, head.expression_count), np.float32)
    neutral = Neutral.of(expression, np.zeros((20, 3)), np.zeros((20, 2, 3)), np.zeros((20, 2)), motions)
    assert neutral is not None and not neutral.expression.any()


def test_a_longer_clip_changes_nothing(human: HeadModel) -> None:
    """Two thousand frames are looked at one by one in part only."""
    p, motions = acted(human, HABIT, frames=120), FaceMotions.of(human)
    long = p.select(np.tile(np.arange(p.frame_count), 20))
    np.testing.assert_allclose(found(long, motions).expression, found(p, motions).expression, atol=0.02)


def test_it_is_among_the_quiet_ones() -> None:
    """A pose that is held for long and hardly trembles is not it, be it little farther from the rest."""
    rng = np.random.default_rng(2)
    held, rests = rng.normal(1.25, 0.01, (60, 4)), rng.normal(0, 0.95, (40, 4))
    assert (quiet_and_often(np.concatenate([held, rests])) >= 60).all()


def test_names_have_regions() -> None:
    for name, region in (
        ("browInnerUp", "brows"), ("browInnerUpLeft", "brows"), ("browDown", "brows"), ("eyeBlinkLeft", "eyes"),
        ("eyeBlink", "eyes"), ("jawOpen", "mouth"), ("mouthSmileLeft", "mouth"), ("noseSneer", "mouth"),
        ("cheekPuff", "mouth"), ("somethingElse", "mouth"),
    ):  # fmt: skip
        assert region_of(name) == region, name


@pytest.mark.parametrize("nameless", [False, True])
def test_parts_are_the_whole_and_move_their_region(human: HeadModel, nameless: bool) -> None:
    head = flame_like(human) if nameless else human
    parts = expression_parts(head)
    assert set(parts) == set(REGIONS)
    np.testing.assert_allclose(sum(parts.values()), np.eye(head.expression_count), atol=1e-9)
    eyes = head.joints[3:, 1].mean()
    above, below = head.template[:, 1] > eyes + 0.02, head.template[:, 1] < eyes - 0.04
    coefficients = torch.tensor(np.random.default_rng(1).uniform(0, 0.5, head.expression_count), dtype=torch.float32)
    moved = {}
    for region, part in parts.items():
        seen = torch.einsum("e,evc->vc", torch.from_numpy(part).float() @ coefficients, head.expression_directions)
        moved[region] = [float(seen[where].norm()) for where in (above, below)]
    assert moved["brows"][0] > 3 * moved["brows"][1] and moved["mouth"][1] > 3 * moved["mouth"][0]


def test_a_face_has_one_row_or_many(human: HeadModel) -> None:
    """What holds for all frames may have one row (HeadParams)."""
    from blendsplat.avatars.retarget import Reference

    p = acted(human, HABIT).params()
    short = replace(p, eyes_pose=p.eyes_pose[:1], eyelids=p.eyelids[:1])
    assert isinstance(short, HeadParams)
    face = Reference.of(short, "", human).face
    assert face is not None and face.eyes_pose.shape == (2, 3) and face.eyelids.shape == (2,)
    assert Reference.of(short).face is None
