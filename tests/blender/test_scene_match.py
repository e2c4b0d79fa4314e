# SPDX-License-Identifier: Apache-2.0
"""What becomes of the artist's scene when a tracked head comes into it."""

from __future__ import annotations

import bpy
import pytest
from blender_addon.scene import scene_match
from blender_addon.ui.panels import check_tracking
from drawn import drawn

import synthetic

OPERATORS = bpy.ops.blendsplat


@pytest.fixture
def clip(scene, engine, video):
    """A tracked clip of 600 frames at 30 a second, whose head is not in the scene yet."""
    OPERATORS.import_video()
    folder = video.parent / f"{video.stem} avatar"
    synthetic.write_performance(folder / "tracking.npz", frames=600, fps=30.0)
    return folder


def cube(keyed: bool):
    item = bpy.data.objects.new("Cube", bpy.data.meshes.new("Cube"))
    bpy.context.scene.collection.objects.link(item)
    if keyed:
        item.keyframe_insert("location", frame=1)
    return item


def test_an_untouched_scene_becomes_the_clips(scene, clip):
    cube(keyed=False)
    OPERATORS.add_head()
    assert (scene.render.fps, scene.frame_start, scene.frame_end) == (30, 1, 600)
    assert (scene.render.resolution_x, scene.render.resolution_y) == (256, 256)
    assert any(
        "30 frames a second, frames 1 to 600" in words for words in drawn(check_tracking.BLENDSPLAT_PT_check_tracking)
    )


def test_an_animated_scene_keeps_its_time_and_is_never_shortened(scene, clip):
    cube(keyed=True)
    scene.render.fps, scene.frame_end = 24, 300
    scene.render.resolution_x, scene.render.resolution_y = 1280, 720
    OPERATORS.add_head()
    assert (scene.render.fps, scene.frame_start, scene.frame_end) == (24, 1, 480), "599 / 30 s at 24 a second"
    assert (scene.render.resolution_x, scene.render.resolution_y) == (1280, 720)
    note = scene.blendsplat.scene_note
    assert "from frame 300 to 480" in note and "keeps its 24 frames" in note and "256 x 256" in note
    scene.frame_end = 900
    OPERATORS.add_head()
    assert scene.frame_end == 900 and "end went" not in scene.blendsplat.scene_note


def test_tracking_again_leaves_what_the_artist_set_meanwhile(scene, clip):
    OPERATORS.add_head()
    scene.frame_end, scene.render.resolution_x = 1000, 640
    OPERATORS.add_head()
    assert (scene.frame_end, scene.render.resolution_x) == (1000, 640)


def test_not_asked_for_nothing_changes(scene, clip):
    scene.blendsplat.match_scene = False
    OPERATORS.add_head()
    assert (scene.render.fps, scene.frame_end, scene.render.resolution_x) == (24, 250, 1920)
    assert scene.blendsplat.scene_note == ""


def test_what_keeps_a_scenes_time(scene):
    assert scene_match.is_untouched(scene)
    scene.timeline_markers.new("cut", frame=10)
    assert not scene_match.is_untouched(scene)
    scene.timeline_markers.clear()
    item = cube(keyed=False)
    assert scene_match.is_untouched(scene)
    item.shape_key_add(name="Basis")
    item.shape_key_add(name="up").keyframe_insert("value", frame=1)
    assert not scene_match.is_untouched(scene)
