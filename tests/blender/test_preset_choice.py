# SPDX-License-Identifier: Apache-2.0
"""The preset is kept by its name, and a finished avatar of another preset is never overwritten."""

from __future__ import annotations

from pathlib import Path

import bpy
from blender_addon import formats
from blender_addon.client import session
from steps import work


def test_a_preset_is_kept_by_its_name(scene, engine, tmp_path, monkeypatch):
    """Before an engine says hello the list is short, afterwards it begins with another one; the choice stands."""
    assert bpy.ops.blendsplat.engine_check() == {"FINISHED"}
    assert scene.blendsplat.preset == "draft"
    scene.blendsplat.preset = "full"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    session.stop()
    monkeypatch.setattr(session, "_preset_items", list(session._FALLBACK_PRESETS))  # as in a fresh Blender
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    settings = bpy.context.scene.blendsplat
    assert (settings.preset, settings.chosen_preset()) == ("full", "full")
    settings.preset_name = "from another engine"
    assert settings.preset == "from another engine"
    assert bpy.ops.blendsplat.engine_check() == {"FINISHED"}
    assert settings.preset == "from another engine"
    settings.preset = "draft"
    assert settings.preset_name == "draft"


def test_the_preset_of_an_older_file(scene, engine):
    """It kept the place in the engine's list."""
    for place, name in enumerate(("detailed", "draft", "rgbavatar")):
        scene.blendsplat["preset"] = place
        assert scene.blendsplat.preset == name
    scene.blendsplat["preset"] = 17
    assert scene.blendsplat.preset == "draft"


def test_a_finished_avatar_of_another_preset_is_not_overwritten(scene, engine, video, capfd):
    work(scene)
    folder = video.parent / "Anna spricht 日本 avatar"
    first = folder / "Anna spricht 日本.avatar.npz"
    before = first.read_bytes()
    scene.blendsplat.preset_name = "full"
    assert bpy.ops.blendsplat.train() == {"FINISHED"}
    second = folder / "Anna spricht 日本 full.avatar.npz"
    assert first.read_bytes() == before and formats.read_header(second)["training"]["preset"] == "full"
    assert second.name in "".join(capfd.readouterr()) and Path(scene.blendsplat.output) == second
    assert sum(item.blendsplat.kind == "AVATAR" for item in scene.objects) == 2
    assert bpy.ops.blendsplat.train() == {"FINISHED"}
    assert len(list(folder.glob("*.avatar.npz"))) == 2, "the same preset again goes on in its own file"
