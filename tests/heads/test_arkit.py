# SPDX-License-Identifier: Apache-2.0
"""ARKit's names: 52, each in one group, shapes or joints of the head that ships; the add-on has the same table."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from blendsplat.files import read_npz
from blendsplat.heads.arkit import ARKIT, ARKIT_JOINTS, GROUPS, JAW_OPEN_ANGLE, counterparts, is_arkit, joint_rotations
from blendsplat.heads.human import FORMAT, HEAD_FILE, VERSION, human_head
from blendsplat.heads.ict import load_ict
from blendsplat.heads.model import JOINTS
from synthetic_head import make_head

ADDON = Path(__file__).parents[2] / "blender_addon" / "scene" / "arkit.py"


def test_there_are_52_in_seven_groups() -> None:
    assert len(ARKIT) == len(set(ARKIT)) == 52
    assert set(GROUPS) == {"brows", "eyes", "cheeks", "nose", "mouth", "jaw", "tongue"}
    for name in ARKIT:
        for here, there in (("Left", "Right"), ("Right", "Left")):
            if name.endswith(here):
                assert name.removesuffix(here) + there in ARKIT


def test_the_head_that_ships_has_them_as_shapes_or_joints() -> None:
    head = human_head()
    assert set(head.expression_names) | set(ARKIT_JOINTS) == set(ARKIT)
    assert not set(head.expression_names) & set(ARKIT_JOINTS)
    assert is_arkit(head) and joint_rotations(head) == ARKIT_JOINTS
    assert {joint for joint, _ in ARKIT_JOINTS.values()} <= set(JOINTS)


def test_the_jaw_opens_as_far_as_the_file_says() -> None:
    _, arrays = read_npz(HEAD_FILE, FORMAT, VERSION)
    assert pytest.approx(float(arrays["jaw_open"]), rel=0.03) == JAW_OPEN_ANGLE


def test_gaze_is_the_same_to_both_sides() -> None:
    for name, (joint, turn) in ARKIT_JOINTS.items():
        if name.endswith("Left"):
            other, mirrored = ARKIT_JOINTS[name.removesuffix("Left") + "Right"]
            assert joint == "left_eye" and other == "right_eye"
            assert mirrored == (turn[0], -turn[1], -turn[2])


def test_other_heads(test_data) -> None:
    ict = load_ict(test_data("heads/ict_facekit/ict_facekit_packed.npz"))
    assert is_arkit(ict) and "jawOpen" not in joint_rotations(ict)
    assert not is_arkit(make_head())
    assert "jawOpen" not in joint_rotations(replace(human_head(), expression_names=("jawOpen",)))


def test_a_name_has_counterparts_on_heads_that_divide_otherwise() -> None:
    names = ("browInnerUpLeft", "browInnerUpRight", "cheekPuff", "jawOpen")
    assert counterparts("jawOpen", names) == ("jawOpen",)
    assert counterparts("browInnerUp", names) == ("browInnerUpLeft", "browInnerUpRight")
    assert counterparts("cheekPuffLeft", names) == ("cheekPuff",)
    assert counterparts("tongueOut", names) == ()


def test_the_add_on_has_the_same_table() -> None:
    spec = importlib.util.spec_from_file_location("addon_arkit", ADDON)
    assert spec is not None and spec.loader is not None
    addon = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(addon)
    assert addon.GROUPS == GROUPS and addon.NAMES == ARKIT
    bones = {"jaw": "jaw", "left_eye": "eye.L", "right_eye": "eye.R"}
    assert {name: (bones[joint], turn) for name, (joint, turn) in ARKIT_JOINTS.items()} == addon.TURNS
