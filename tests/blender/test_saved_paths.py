# SPDX-License-Identifier: Apache-2.0
"""Paths in a .blend: a project that is moved, saved elsewhere, or wants them absolute."""

from __future__ import annotations

from pathlib import Path

import bpy
import pytest
from steps import the_avatar, work


def moved_project(scene, tmp_path, save) -> bpy.types.Scene:
    """A project with its clip and avatar, saved by ``save(blend)``, moved, and opened there."""
    project = tmp_path / "проект ü"
    (project / "film.mp4").parent.mkdir()
    (project / "film.mp4").write_bytes(b"x")
    scene.blendsplat.video = str(project / "film.mp4")
    save(project / "scene.blend")
    project.rename(tmp_path / "moved")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moved" / "scene.blend"))
    return bpy.context.scene


@pytest.mark.parametrize("saved_first", [True, False])
def test_a_moved_project_gets_no_second_avatar(scene, engine, tmp_path, saved_first):
    def save(blend):
        if saved_first:
            bpy.ops.wm.save_as_mainfile(filepath=str(blend))
        work(bpy.context.scene)
        bpy.ops.wm.save_as_mainfile(filepath=str(blend))

    scene = moved_project(scene, tmp_path, save)
    carrier, settings = the_avatar(scene), scene.blendsplat
    for kept in (carrier.blendsplat.avatar_path, settings.video, settings.avatar_file, settings.performance):
        assert kept.startswith("//") and Path(bpy.path.abspath(kept)).exists(), kept
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    assert the_avatar(scene) == carrier and sum(item.blendsplat.kind == "AVATAR" for item in scene.objects) == 1
    assert bpy.ops.blendsplat.add_head() == {"FINISHED"}
    assert sum(item.blendsplat.kind == "HEAD" for item in scene.objects) == 1


def test_paths_follow_a_file_that_is_saved_elsewhere(scene, engine, video, tmp_path):
    """Save As another folder: the same files; a copy leaves the open file's own paths alone."""
    blend = video.parent / "scene.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    work(scene)
    files = [Path(bpy.path.abspath(the_avatar(scene).blendsplat.avatar_path)), video]
    scene.blendsplat.video = "//" + video.name
    (tmp_path / "elsewhere").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "elsewhere" / "copy.blend"), copy=True)
    assert scene.blendsplat.video == "//" + video.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "elsewhere" / "scene.blend"))
    for name in ("copy.blend", "scene.blend"):
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "elsewhere" / name))
        scene = bpy.context.scene
        for path, text in zip(files, (the_avatar(scene).blendsplat.avatar_path, scene.blendsplat.video), strict=True):
            assert text.startswith("//") and Path(bpy.path.abspath(text)).resolve() == path.resolve()


def test_an_artist_who_wants_absolute_paths_gets_them(scene, engine, tmp_path):
    bpy.context.preferences.filepaths.use_relative_paths = False
    try:
        scene = moved_project(scene, tmp_path, lambda blend: bpy.ops.wm.save_as_mainfile(filepath=str(blend)))
    finally:
        bpy.context.preferences.filepaths.use_relative_paths = True
    assert Path(scene.blendsplat.video) == tmp_path / "проект ü" / "film.mp4"
