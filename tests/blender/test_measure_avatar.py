# SPDX-License-Identifier: Apache-2.0
"""A trained avatar is measured where people look: the button, what the engine is asked, the words, the picture."""

from __future__ import annotations

import os

import bpy
import pytest
from blender_addon.client import jobs
from blender_addon.scene import avatar_quality
from blender_addon.ui.operators import common, measure_avatar, train
from blender_addon.ui.panels.train import BLENDSPLAT_PT_train
from drawn import drawn
from steps import work

MEASURED = {
    "mouth_psnr": 19.0, "eyes_psnr": 34, "steadiness": {"tremble": 1.5},
    "sides": {"from_left": {"holes": 0.0}, "from_front": {"holes": 0.9}, "from_right": {"holes": 0.25}},
}  # fmt: skip


def test_words_are_an_artists() -> None:
    told = avatar_quality.parts(MEASURED)
    assert told[0] == "Mouth a sketch (19.0 dB), eyes very sharp (34.0 dB)"
    assert told[1] == "Seen from 45 degrees: their left whole (0%), their right large holes (25%)"
    assert told[2].startswith("It trembles more than the video") and len(told) == 3
    assert avatar_quality.parts({"steadiness": {"tremble": 0.6}}) == ["It is as steady as the video"]


@pytest.mark.parametrize(
    "damaged", [{}, {"sides": None, "steadiness": 3, "mouth_psnr": "x"}, {"sides": {"from_left": []}}]
)
def test_a_damaged_summary_says_nothing(damaged: dict) -> None:
    assert avatar_quality.parts(damaged) == []


def test_an_avatar_is_measured_and_the_panel_says_what_came_of_it(scene, engine, video) -> None:
    assert "Train the avatar first." in measure_avatar.MeasureAvatar.reason(bpy.context)
    with pytest.raises(RuntimeError):
        bpy.ops.blendsplat.measure_avatar()
    work(scene)
    assert "blendsplat.measure_avatar" in drawn(BLENDSPLAT_PT_train)
    assert measure_avatar.ShowMeasured.reason(bpy.context) == "Measure the avatar first."
    assert bpy.ops.blendsplat.measure_avatar() == {"FINISHED"}
    asked, avatar = jobs.latest("evaluate").params, common.output_of(scene)
    assert asked["avatar"] == str(avatar) and asked["directory"] == str(common.directory_of(scene))
    assert asked["output"] == str(avatar.with_name("Anna spricht 日本 measured"))
    words = drawn(BLENDSPLAT_PT_train)
    assert "Mouth good (26.5 dB), eyes sharp (29.2 dB)" in words and "Measure Again" in words
    assert "Seen from 45 degrees: their left whole (1%), their right holes (17%)" in words
    assert bpy.ops.blendsplat.show_measured() == {"FINISHED"}
    assert "sheet.png" in bpy.data.images
    os.utime(avatar, (2**31, 2**31))  # trained again
    assert measure_avatar.measured(scene) == {} and "Measure Again" not in drawn(BLENDSPLAT_PT_train)


def test_what_was_measured_is_known_after_closing_and_of_no_other_avatar(scene, engine, video) -> None:
    work(scene)
    assert bpy.ops.blendsplat.measure_avatar() == {"FINISHED"}
    jobs.unregister()
    assert measure_avatar.measured(scene)["mouth_psnr"] == 26.5
    folder = measure_avatar.folder_of(train.target(scene))
    (folder / "sheet.png").unlink()
    assert measure_avatar.ShowMeasured.reason(bpy.context) == "Measure the avatar first."
    scene.blendsplat.preset_name = "full"
    assert measure_avatar.measured(scene) == {}
    scene.blendsplat.preset_name = ""
    (folder / "summary.json").write_text("[1")
    assert measure_avatar.measured(scene) == {}
