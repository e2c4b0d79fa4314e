# SPDX-License-Identifier: Apache-2.0
"""A finished step takes nothing out of the artist's hands: no object, no mode, no selection, no active object."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from blender_addon.client import jobs
from blender_addon.ui.operators import results
from steps import the_avatar, work

import synthetic


def start(scene, operator: str, mode) -> jobs.Job:
    """The job that a button starts; ``mode()`` is what the artist does while it runs."""
    pressed = {}

    def note(kind, params, context=None, _start=jobs.start) -> jobs.Job:
        pressed["job"] = _start(kind, params, context)
        mode()
        return pressed["job"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "start", note)
        assert getattr(bpy.ops.blendsplat, operator)() == {"FINISHED"}
    return pressed["job"]


def enter(item: bpy.types.Object, mode: str) -> None:
    bpy.context.view_layer.objects.active = item
    item.hide_set(False)
    item.select_set(True)
    assert bpy.ops.object.mode_set(mode=mode) == {"FINISHED"}


def titles(scene) -> list[str]:
    return [offer.title for kind in ("track", "train", "fit_image") for offer in results.offers(scene, kind)]


def test_editing_the_avatar_while_it_trains(scene, engine, video):
    work(scene)
    carrier = the_avatar(scene)
    mesh, own = carrier.data, carrier.shape_key_add(name="my own", from_mix=False)
    job = start(scene, "train", lambda: enter(carrier, "EDIT"))
    assert job.state == "done", job.error
    assert carrier.mode == "EDIT" and carrier.data == mesh and own.name in mesh.shape_keys.key_blocks
    assert titles(scene) == ["Update Avatar"]
    assert not bpy.ops.blendsplat.add_result.poll() and not bpy.ops.blendsplat.add_avatar.poll()
    bpy.ops.object.mode_set(mode="OBJECT")
    assert bpy.ops.blendsplat.add_result(kind="train") == {"FINISHED"}
    assert the_avatar(scene) == carrier and carrier.data != mesh and titles(scene) == []
    assert "my own" in carrier.data.shape_keys.key_blocks


@pytest.mark.parametrize(("operator", "title"), [("train", "Update Avatar"), ("track", "Add Tracked Head")])
def test_posing_while_a_step_runs(scene, engine, video, operator, title):
    work(scene)
    bpy.data.objects.remove(bpy.data.objects["Anna spricht 日本 Head"]) if operator == "track" else None
    bones = bpy.data.objects.new("mine", bpy.data.armatures.new("mine"))
    scene.collection.objects.link(bones)
    job = start(scene, operator, lambda: enter(bones, "POSE"))
    assert job.state == "done", job.error
    assert bpy.context.mode == "POSE" and bpy.context.view_layer.objects.active == bones
    assert titles(scene) == [title]


@pytest.mark.parametrize("first", [True, False], ids=["a new avatar", "trained further"])
def test_active_object_and_selection_stay(scene, engine, video, first):
    cube = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
    lamp = bpy.data.objects.new("lamp", bpy.data.lights.new("lamp", "POINT"))
    for item in (cube, lamp):
        scene.collection.objects.link(item)
    if not first:
        work(scene)
    for item in list(bpy.context.view_layer.objects):
        item.select_set(False)
    lamp.select_set(True)
    bpy.context.view_layer.objects.active = cube
    work(scene)
    assert bpy.context.view_layer.objects.active == cube
    assert [item.name for item in bpy.context.view_layer.objects if item.select_get()] == ["lamp"]
    bpy.data.objects.remove(cube)
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    assert bpy.context.view_layer.objects.active == the_avatar(scene), "who presses Add Avatar means it"


def test_photographs_fitted_while_posing(scene, engine, tmp_path):
    bones = bpy.data.objects.new("mine", bpy.data.armatures.new("mine"))
    scene.collection.objects.link(bones)
    enter(bones, "POSE")
    synthetic.write_png(tmp_path / "anna.png", np.zeros((8, 8, 3), np.uint8))
    assert bpy.ops.blendsplat.fit_image(filepath=str(tmp_path / "anna.png")) == {"FINISHED"}
    assert bones.mode == "POSE" and bpy.context.view_layer.objects.active == bones
    assert scene.blendsplat.photographs.files[0].state == "FITTED", "what was fitted is known at once"
    bpy.ops.object.mode_set(mode="OBJECT")
    assert bpy.ops.blendsplat.add_result(kind="fit_image") == {"FINISHED"}
    assert [item.name for item in scene.objects if item.blendsplat.kind == "HEAD"]


def test_an_offer_belongs_to_its_file(scene, engine, video, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bones = bpy.data.objects.new("mine", bpy.data.armatures.new("mine"))
    bpy.context.scene.collection.objects.link(bones)
    bpy.ops.blendsplat.import_video()
    start(bpy.context.scene, "track", lambda: enter(bones, "POSE"))
    assert titles(bpy.context.scene) == ["Add Tracked Head"]
    bpy.ops.wm.read_homefile(use_empty=True)
    assert titles(bpy.context.scene) == []
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert titles(bpy.context.scene) == ["Add Tracked Head"]
    assert bpy.ops.blendsplat.add_result(kind="track") == {"FINISHED"}
    assert [item.name for item in bpy.context.scene.objects if item.blendsplat.kind == "HEAD"]
