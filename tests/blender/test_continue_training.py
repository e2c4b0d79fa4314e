# SPDX-License-Identifier: Apache-2.0
"""What the training's button offers: known from the files, so that closing Blender in between changes nothing."""

from __future__ import annotations

import os

import bpy
import pytest
from blender_addon.client import jobs
from blender_addon.ui.operators import train
from blender_addon.ui.panels.train import BLENDSPLAT_PT_train
from drawn import drawn
from steps import work

import synthetic


def button() -> str:
    return next(words for words in drawn(BLENDSPLAT_PT_train) if words in ("Continue Training", "blendsplat.train"))


def tracked(scene, tmp_path) -> None:
    assert bpy.ops.blendsplat.import_video() == {"FINISHED"}
    assert bpy.ops.blendsplat.track() == {"FINISHED"}
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))


def closed_and_opened(tmp_path) -> None:
    jobs.unregister()  # what a new Blender knows of jobs
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))


def test_closed_in_the_middle_of_a_training(scene, engine, video, tmp_path):
    tracked(scene, tmp_path)
    assert button() == "blendsplat.train"
    engine("die")
    with pytest.raises(RuntimeError):
        bpy.ops.blendsplat.train()
    closed_and_opened(tmp_path)
    assert button() == "Continue Training"
    engine()
    assert bpy.ops.blendsplat.train() == {"FINISHED"}
    assert button() == "blendsplat.train", "it is finished"


def test_an_avatar_that_a_closing_blender_kept(scene, engine, video, tmp_path):
    """The engine writes what it has when Blender ends; its file says how far it came."""
    work(scene)
    output = train.common.output_of(scene)
    for images, words in ((300, "Continue Training"), (1000, "blendsplat.train")):
        record = {"preset": "draft", "images": images, "planned_images": 1000}
        synthetic.write_avatar(output, training=record)
        assert button() == words
    synthetic.write_avatar(output, training={"preset": "draft", "images": 300})
    assert button() == "blendsplat.train", "older files do not say how far they should go"
    synthetic.write_avatar(output, training={"preset": "draft", "images": 300, "planned_images": 1000})
    os.utime(output.parent / "tracking.npz", (2**31, 2**31))
    assert button() == "blendsplat.train", "tracked again: it begins afresh"


def test_another_preset_is_not_continued(scene, engine, video):
    work(scene)
    synthetic.write_avatar(
        train.common.output_of(scene), training={"preset": "draft", "images": 3, "planned_images": 10}
    )
    assert button() == "Continue Training"
    scene.blendsplat.preset_name = "full"
    assert button() == "blendsplat.train"


def test_a_blank_preset_is_the_usual_one(scene, engine, video):
    for text in ("", "  "):
        scene.blendsplat.preset_name = text
        assert scene.blendsplat.chosen_preset() == scene.blendsplat.preset == "draft"
    scene.blendsplat.preset_name = " full "
    assert scene.blendsplat.chosen_preset() == "full"


def test_a_preset_that_the_engine_does_not_know_is_said_before(scene, engine, video):
    bpy.ops.blendsplat.import_video()
    bpy.ops.blendsplat.track()
    scene.blendsplat.preset_name = "from another engine"
    assert "does not know the preset 'from another engine'" in train.Train.reason(bpy.context)
    for name in ("full", "/studio/own.toml"):
        scene.blendsplat.preset_name = name
        assert train.Train.reason(bpy.context) == ""
