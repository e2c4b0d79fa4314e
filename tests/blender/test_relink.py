# SPDX-License-Identifier: Apache-2.0
"""Moved clips, avatars and photographs are found again, by their names and by what they hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import bpy
import numpy as np
import pytest
from blender_addon import paths
from blender_addon.scene import relink
from blender_addon.ui.operators import common
from blender_addon.ui.operators import relink as operators
from blender_addon.ui.panels.work import BLENDSPLAT_PT_work
from drawn import drawn
from steps import the_avatar, work

import synthetic

OPERATORS = bpy.ops.blendsplat


@pytest.fixture
def project(scene, engine, tmp_path):
    """A saved project whose video, clip, avatar and photograph then move to another place."""
    old = tmp_path / "alt" / "Projekt ä"
    old.mkdir(parents=True)
    video = old / "talk.mp4"
    video.write_bytes(b"x")
    scene.blendsplat.video = str(video)
    clip = old / "talk avatar"
    OPERATORS.import_video()
    synthetic.write_png(clip / "images" / "000000.png", np.full((256, 256, 3), 90, np.uint8))
    work_after_import(scene)
    photo = synthetic.write_png(old / "photos" / "anna.png", np.zeros((8, 8, 3), np.uint8))
    OPERATORS.fit_image(filepath=str(photo))
    blend = tmp_path / "scenes" / "a.blend"
    blend.parent.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    return old


def work_after_import(scene) -> None:
    assert OPERATORS.track() == {"FINISHED"}
    assert OPERATORS.train() == {"FINISHED"}


def reopened(blend: Path):
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    operators._missing = (0.0, "", [])
    return bpy.context.scene


def test_a_moved_project_is_found(project, tmp_path, monkeypatch):
    new = tmp_path / "neu" / "Anna 日本"
    new.parent.mkdir()
    project.rename(new)
    scene = reopened(tmp_path / "scenes" / "a.blend")
    assert any(words.startswith("Not where this file looks") for words in drawn(BLENDSPLAT_PT_work))
    assert OPERATORS.relink(directory=str(tmp_path)) == {"FINISHED"}
    (told,) = drawn(BLENDSPLAT_PT_work)
    assert not relink.lost() and told.startswith("Found ")
    monkeypatch.setattr(operators, "_TOLD", 0.0)
    assert not drawn(BLENDSPLAT_PT_work)
    assert not OPERATORS.relink.poll()
    assert scene.blendsplat.video.startswith("//"), "this file keeps its paths relative"
    assert common.path_of(scene.blendsplat.video).resolve() == new / "talk.mp4"
    carrier = the_avatar(scene)
    assert paths.absolute(carrier.blendsplat.avatar_path).resolve() == new / "talk avatar" / "talk.avatar.npz"
    assert paths.absolute(carrier.blendsplat.head.blendsplat.clip_path).resolve() == new / "talk avatar"
    pictures = [image for image in bpy.data.images if image.source in ("FILE", "SEQUENCE")]
    assert pictures and all(Path(bpy.path.abspath(image.filepath)).exists() for image in pictures)
    assert OPERATORS.fit_again() == {"FINISHED"}
    assert sum(item.blendsplat.kind == "HEAD" for item in scene.objects) == 2, "the fit was not recognised"


def test_absolute_paths_stay_absolute_where_the_artist_saves_so(project, tmp_path):
    files = bpy.context.preferences.filepaths
    project.rename(tmp_path / "neu")
    scene = reopened(tmp_path / "scenes" / "a.blend")
    files.use_relative_paths = False
    try:
        OPERATORS.relink(directory=str(tmp_path))
        assert scene.blendsplat.video == str(tmp_path / "neu" / "talk.mp4")
    finally:
        files.use_relative_paths = True


def test_an_avatar_under_another_name_is_known_by_what_it_holds(project, tmp_path):
    project.rename(tmp_path / "neu")
    clip = tmp_path / "neu" / "talk avatar"
    (clip / "talk.avatar.npz").rename(tmp_path / "neu" / "Anna final.avatar.npz")
    synthetic.write_avatar(tmp_path / "neu" / "other.avatar.npz", gaussians=77)
    scene = reopened(tmp_path / "scenes" / "a.blend")
    OPERATORS.relink(directory=str(tmp_path / "neu"))
    found = paths.absolute(the_avatar(scene).blendsplat.avatar_path)
    assert found.resolve() == tmp_path / "neu" / "Anna final.avatar.npz"


def test_a_file_of_the_name_that_is_something_else_is_not_taken(project, tmp_path):
    shutil.rmtree(project)
    synthetic.write_avatar(tmp_path / "neu" / "talk.avatar.npz", gaussians=77)
    (tmp_path / "neu" / "talk avatar").mkdir()
    (tmp_path / "neu" / "talk avatar" / "clip.json").write_text("broken {")
    scene = reopened(tmp_path / "scenes" / "a.blend")
    before = the_avatar(scene).blendsplat.avatar_path
    assert OPERATORS.relink(directory=str(tmp_path / "neu")) == {"CANCELLED"}
    assert the_avatar(scene).blendsplat.avatar_path == before
    assert any(line.startswith("Not found in") for line in operators.outcome(scene))


def test_of_two_the_one_whose_path_agrees_more(tmp_path):
    for name in ("A/talk", "B/talk"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "clip.json").write_text("{}")
    index = relink.Index.of(tmp_path)
    moved, sentences = relink.find([relink.Lost(Path("/gone/B/talk"), True)], index)
    assert moved == {Path("/gone/B/talk"): tmp_path / "B" / "talk"} and not sentences
    moved, sentences = relink.find([relink.Lost(Path("/gone/C/talk"), True)], index)
    assert not moved and "there 2 times" in sentences[0] and "by hand" in sentences[0]


def test_what_lies_in_a_moved_folder_moves_along(tmp_path):
    (tmp_path / "neu" / "clip").mkdir(parents=True)
    (tmp_path / "neu" / "clip" / "clip.json").write_text("{}")
    synthetic.write_performance(tmp_path / "neu" / "clip" / "tracking.npz")
    synthetic.write_performance(tmp_path / "other" / "tracking.npz")
    wanted = [relink.Lost(Path("/gone/clip"), True), relink.Lost(Path("/gone/clip/tracking.npz"), False)]
    moved, _ = relink.find(wanted, relink.Index.of(tmp_path))
    assert moved[Path("/gone/clip/tracking.npz")] == tmp_path / "neu" / "clip" / "tracking.npz"


def test_hidden_folders_and_whole_disks_are_left(tmp_path, monkeypatch):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "talk.mp4").write_bytes(b"x")
    (tmp_path / "talk.mp4").write_bytes(b"x")
    assert relink.Index.of(tmp_path).files["talk.mp4"] == [tmp_path / "talk.mp4"]
    monkeypatch.setattr(relink, "_MOST", 1)
    assert not relink.Index.of(tmp_path).complete


def test_in_a_window_the_search_does_not_wait(project, tmp_path, monkeypatch):
    project.rename(tmp_path / "neu")
    scene = reopened(tmp_path / "scenes" / "a.blend")
    monkeypatch.setattr(operators.pump, "synchronous", lambda: False)
    monkeypatch.setattr(operators.pump, "wake", lambda: None)
    monkeypatch.setattr(operators.bpy.ops.ed, "undo_push", lambda **_how: None, raising=False)
    assert OPERATORS.relink(directory=str(tmp_path / "neu")) == {"FINISHED"}
    assert operators.searching() and not OPERATORS.relink.poll()
    assert any(words.startswith("Looking for") for words in drawn(BLENDSPLAT_PT_work))
    operators._search.join(30)
    monkeypatch.setattr(operators.pump, "synchronous", lambda: True)
    operators._step(0.0)
    assert not operators.searching() and not relink.lost()
    assert common.path_of(scene.blendsplat.video).exists()


def test_nothing_missing_is_said(scene, engine, video):
    work(scene)
    assert not OPERATORS.relink.poll() and not drawn(BLENDSPLAT_PT_work)
    with pytest.raises(RuntimeError, match="Nothing is missing"):
        OPERATORS.relink(directory="/")
