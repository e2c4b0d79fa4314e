# SPDX-License-Identifier: Apache-2.0
"""What a clip shows of a head, told from made-up performances whose angles and sliders are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from blender_addon import formats
from blender_addon.scene import arkit, coverage

FRAMES = 40


def performance(*, yaw=0.0, pitch=0.0, names=(), values=None, jaw=0.0, **arrays) -> formats.Performance:
    """A head that turns by ``yaw`` [F] and nods by ``pitch`` [F] degrees before a camera straight ahead of it."""
    turn = np.zeros((FRAMES, 3))
    turn[:, 1] += np.radians(yaw)
    turn[:, 0] += np.radians(pitch)
    view = np.diag([1.0, -1.0, -1.0, 1.0])
    view[:3, 3] = [0.0, 0.0, 1.0]
    whole = {
        "timestamps": np.arange(FRAMES) / 25, "valid": np.ones(FRAMES, bool), "root_pose": np.zeros((FRAMES, 3)),
        "neck_pose": turn, "translation": np.zeros((FRAMES, 3)), "viewmat": view, "jaw_pose": np.zeros((FRAMES, 3)),
        "eyes_pose": np.zeros((FRAMES, 2, 3)), "eyelids": np.zeros((FRAMES, 2)),
        "expression": np.zeros((FRAMES, len(names))) if values is None else np.asarray(values, float),
    }  # fmt: skip
    whole["jaw_pose"][:, 0] = jaw
    return formats.Performance(Path("x"), {"expression_names": list(names)}, whole | arrays)


def test_turning_to_the_persons_left_shows_their_right(scene):
    """About Y to +X, which is the person's left: then the camera sees their right cheek."""
    told = coverage.of(performance(yaw=np.linspace(0, 30, FRAMES)))
    assert told.yaw[0] == pytest.approx(-30, abs=2) and told.yaw[1] == pytest.approx(0, abs=2)
    assert told.grid.sum() == FRAMES and told.grid[coverage.PITCHES // 2, coverage.YAWS // 2 - 2] > 0
    assert not told.grid[:, coverage.YAWS // 2 + 1 :].any()
    sentences = coverage.views(told)
    assert "From the person's right beyond 30° and from the person's left beyond 5°: never seen." in sentences
    assert "turn the head slowly to both sides" in coverage.advice(told)


def test_nodding_down_is_seen_from_above(scene):
    told = coverage.of(performance(pitch=np.linspace(0, 30, FRAMES)))
    assert told.pitch[1] == pytest.approx(30, abs=2) and told.grid[: coverage.PITCHES // 2].any()
    assert not told.grid[coverage.PITCHES // 2 + 1 :].any()


def test_a_wide_turn_leaves_nothing_to_say(scene):
    told = coverage.of(performance(yaw=np.linspace(-60, 60, FRAMES)))
    assert len(coverage.views(told)) == 1 and coverage.advice(told) == ""


def test_where_the_head_stands_counts_as_well(scene):
    """A head that looks straight ahead at the side of the picture shows its inner cheek."""
    beside = np.zeros((FRAMES, 3)) + [math.tan(math.radians(30)), 0, 0]
    told = coverage.of(performance(translation=beside))
    assert told.yaw[0] == pytest.approx(-30, abs=0.1), "to the person's left of the camera: it sees the right cheek"


def test_sliders_are_told_as_far_as_they_went(scene):
    names = [name for name in arkit.NAMES if name not in arkit.TURNS]
    values = np.zeros((FRAMES, len(names)))
    values[10:20, names.index("mouthSmileLeft")] = 0.8
    values[10:20, names.index("mouthSmileRight")] = 0.6
    values[30, names.index("tongueOut")] = 1.0  # one frame may be a mistake
    values[5:9, names.index("mouthLeft")] = 0.5
    told = coverage.of(performance(names=names, values=values, jaw=0.6 * arkit.TURNS["jawOpen"][1][0]))
    assert told.reach["mouthSmile"] == pytest.approx(0.6), "a smile of one side only is no smile"
    assert told.reach["jawOpen"] == pytest.approx(0.6) and told.reach["tongueOut"] == 0
    assert told.reach["mouthLeft"] == 0.5 and told.reach["mouthRight"] == 0
    sentences = coverage.expressions(told)
    assert sentences[0] == "Sliders were seen up to: jaw open 60%, smile 60%."
    assert "guesses" in sentences[-1] and "more" in sentences[-1] and "pull a few faces" in coverage.advice(told)
    assert told.reach.keys() >= {"browDown", "eyeBlink"} and "browDownLeft" not in told.reach


def test_numbered_expressions_are_not_told(scene):
    values = np.ones((FRAMES, 2))
    told = coverage.of(performance(names=["expression 01", "expression 02"], values=values, jaw=math.radians(12)))
    assert told.reach == {} and coverage.expressions(told)[0].startswith("The jaw opens up to 12°")


def test_lost_frames_show_nothing(scene):
    yaw = np.zeros(FRAMES)
    yaw[:10] = -80
    confidence = np.ones(FRAMES)
    confidence[:10] = 0.05
    assert coverage.of(performance(yaw=yaw, confidence=confidence)).yaw[1] < 5
    valid = np.arange(FRAMES) >= 10
    assert coverage.of(performance(yaw=yaw, valid=valid)).frames == FRAMES - 10


def test_the_picture_is_bright_where_the_head_was_seen(scene):
    image = coverage.picture(coverage.of(performance(yaw=np.linspace(0, 30, FRAMES))))
    height, width = image.shape[:2]
    left, right = image[:, : width // 2 - 24], image[:, width // 2 + 26 :]
    assert image.dtype == np.uint8 and left.max() > 150 and right.max() < 70
    assert height == coverage.PITCHES * 24 + 2


def test_every_slider_reads_as_words(scene):
    assert coverage.plain("mouthRollUpper") == "roll upper" and coverage.plain("jawOpen") == "jaw open"
    assert all(coverage.plain(name) for name in arkit.NAMES)
