# SPDX-License-Identifier: Apache-2.0
"""The engine's buttons and preferences: the test picture by its values, the log after a failed installation, updating,
removing, shared folders; every grey button says why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from blender_addon import preferences
from blender_addon.client import install, session, test_picture, torch_builds
from blender_addon.client.link import LinkError
from blender_addon.client.workshop import Sources
from blender_addon.ui import preferences_page
from blender_addon.ui.operators import engine as engine_operators
from blender_addon.ui.operators import installation
from blender_addon.ui.panels import engine_parts
from fake_index import engine_wheel, tiny_wheel


@pytest.fixture
def prefs(scene):
    """The add-on's preferences as Blender keeps them."""
    addon = bpy.context.preferences.addons.new()
    addon.module = preferences.PACKAGE
    yield addon.preferences
    bpy.context.preferences.addons.remove(addon)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Where the bundled engine lies; pip looks into a folder, and Blender may use the network."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", (tmp_path / "index").as_uri())
    tiny_wheel(tmp_path / "index", "torch", version=torch_builds.VERSION)
    monkeypatch.setattr(installation, "wheels_directory", lambda: tmp_path / "wheels")
    monkeypatch.setattr(installation, "may_use_network", lambda: True)
    yield tmp_path / "wheels"
    installation._installation = installation._removal = None


@pytest.fixture
def here(prefs, wheels):
    """An environment that needs not be made first."""
    subprocess.run([sys.executable, "-I", "-m", "venv", str(preferences.environment_directory())], check=True)
    return prefs


# --- the test picture


def drawn() -> np.ndarray:
    """The image of the .blend [S,S,4], first row at the top."""
    image = bpy.data.images[test_picture.NAME]
    return np.array(image.pixels[:], np.float32).reshape(image.size[1], image.size[0], 4)[::-1]


def check_picture() -> None:
    _, pixels, colors = test_picture.gaussians()
    have = drawn()
    x, y = pixels.T
    np.testing.assert_allclose(have[y, x, :3], colors, atol=0.02)
    assert (have[y, x, 3] > 0.98).all() and have[0, 0, 3] == 0 and len({tuple(c) for c in colors.round(3)}) == 9


def test_the_picture_and_what_it_says(scene, engine):
    assert test_picture.lines() == []
    assert bpy.ops.blendsplat.test_picture() == {"FINISHED"}
    check_picture()
    first, second = test_picture.report().lines
    assert first == "The engine draws as it should: a stand-in."
    assert "Version fake" in second and second.endswith("ms a test picture.")
    assert [icon for _line, icon in test_picture.lines()] == ["CHECKMARK", "BLANK1"]
    assert bpy.ops.blendsplat.test_picture() == {"FINISHED"}
    assert [image.name for image in bpy.data.images if "Test Picture" in image.name] == [test_picture.NAME]


def test_the_real_engines_picture(real):
    assert bpy.ops.blendsplat.test_picture() == {"FINISHED"}
    check_picture()
    assert f"torch {session.link.hello['torch']}" in test_picture.report().lines[1]


def test_a_wrong_picture_is_said(engine):
    _, pixels, colors = test_picture.gaussians()
    x, y = pixels.T
    image, alpha = np.zeros((128, 128, 3), np.float32), np.zeros((128, 128, 1), np.float32)
    image[y, x], alpha[y, x] = colors, 1
    assert test_picture.straight({"image": image, "alpha": alpha}).shape == (128, 128, 4)
    for broken in (
        {},
        {"image": image[:64], "alpha": alpha},
        {"image": image * 0, "alpha": alpha},
        {"image": image * np.nan, "alpha": alpha},
        {"image": image, "alpha": alpha + 0.1},
        {"image": image[:, ::-1], "alpha": alpha[:, ::-1]},
    ):
        with pytest.raises(LinkError, match="install the engine again, or choose another Device"):
            test_picture.straight(broken)
    hidden = image.copy()
    hidden[64, 64] = 0  # the black one in front of the white one
    with pytest.raises(LinkError, match="not what it should"):
        test_picture.straight({"image": hidden, "alpha": alpha})


def test_an_engine_that_cannot_draw_is_said(engine, monkeypatch):
    monkeypatch.setattr(session, "engine_command", lambda: ["/no/such/engine"])
    with pytest.raises(RuntimeError, match="cannot be started"):
        bpy.ops.blendsplat.test_picture()
    assert test_picture.NAME not in bpy.data.images
    ((line, icon),) = test_picture.lines()
    assert icon == "ERROR" and "cannot be started" in line


@pytest.mark.parametrize(
    ("wanted", "cuda", "name"),
    [("auto", True, "A card"), ("auto", False, "A processor"), ("cuda", True, "A card"), ("cuda:7", True, "cuda:7")],
)
def test_the_devices_name(wanted, cuda, name):
    devices = [{"id": "cpu", "name": "A processor"}, {"id": "cuda:0", "name": "A card"}]
    assert test_picture.device_name(wanted, {"devices": devices, "kernels": {"cuda": cuda}}) == name


# --- installing, from Blender


def test_the_log_after_a_failed_installation(here, wheels, tmp_path):
    """There was no log: the engine never ran."""
    assert engine_operators.ShowLog.reason(bpy.context) == "There is no log yet."
    engine_wheel(wheels)
    next((tmp_path / "index").glob("torch-*")).unlink()
    with pytest.raises(RuntimeError, match="no build of torch"):
        bpy.ops.blendsplat.engine_install()
    installation._installation = None  # Blender was closed meanwhile
    assert engine_operators.ShowLog.reason(bpy.context) == ""
    assert bpy.ops.blendsplat.engine_log() == {"FINISHED"}
    text = bpy.data.texts["Blendsplat engine log"].as_string()
    assert "No matching distribution found for torch" in text and "has no build of torch" in text


def test_installed_updated_and_removed(here, wheels, tmp_path):
    old = engine_wheel(wheels)
    assert bpy.ops.blendsplat.engine_install() == {"FINISHED"}
    assert preferences.installed_engine()["version"] == "0.1.0" and installation.update() is None
    old.unlink()
    engine_wheel(wheels, "0.2.0")
    assert installation.update() == ("0.1.0", "0.2.0")
    assert bpy.ops.blendsplat.engine_install() == {"FINISHED"}
    assert preferences.installed_engine()["version"] == "0.2.0" and installation.update() is None
    (preferences.user_directory() / "logs").mkdir(exist_ok=True)
    assert bpy.ops.blendsplat.engine_remove() == {"FINISHED"}
    assert preferences.installed_engine() == {} and session.engine_command() == []
    assert [path.name for path in preferences.user_directory().iterdir()] == ["logs"]
    assert "Your clips, avatars and .blend files stay" in installation.removal().sentence
    assert "GB are free again" in installation.removal().sentence
    assert installation.Remove.reason(bpy.context) == "No engine is installed here."


def test_the_preferences_reach_the_installation(prefs):
    prefs.package_index, prefs.torch_index, prefs.python_mirror = " https://i ", "https://t", "https://m"
    prefs.certificate, prefs.torch = "/etc/company.pem", "CPU"
    assert installation.sources() == Sources("https://i", "https://t", "/etc/company.pem", "https://m", "CPU")


def test_size_and_room_are_said_before(prefs, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=12_300_000_000))
    engine_parts._free.cache_clear()
    prefs.torch = "CPU"
    assert "for the processor and the engine: about 2 GB on the disk. 12 GB are free there." in engine_parts.plan()
    prefs.torch = "CUDA"
    assert "for the graphics card and the engine: about 6 GB" in engine_parts.plan()


def test_grey_buttons_say_why(prefs, wheels, monkeypatch):
    reason = installation.Install.reason
    assert "without an engine" in reason(bpy.context)
    engine_wheel(wheels)
    assert reason(bpy.context) == ""
    monkeypatch.setattr(installation, "may_use_network", lambda: False)
    assert "allow Online Access" in reason(bpy.context)
    assert installation.CancelInstall.reason(bpy.context) == "Nothing is being installed."
    assert engine_operators.Stop.reason(bpy.context) == "No engine runs."
    monkeypatch.setattr(installation, "_installation", install.Installation(wheels, wheels))
    for cls in (installation.Install, installation.Remove, engine_operators.Check, engine_operators.DrawTestPicture):
        assert "being installed" in cls.reason(bpy.context)
    assert installation.CancelInstall.reason(bpy.context) == ""


# --- shared folders in the preferences


def test_folders_are_added_and_removed(prefs):
    prefs.engine_kind = "COMMAND"
    for _ in range(2):
        assert bpy.ops.blendsplat.add_folder() == {"FINISHED"}
    prefs.folders[0].here, prefs.folders[0].there = "/mnt/a", "/srv/a"
    assert preferences.folder_pairs() == [("/mnt/a", "/srv/a")], "one of them has no names yet"
    assert session.engine_path("/mnt/a/x") == "/srv/a/x" and session.remote()
    assert bpy.ops.blendsplat.remove_folder(index=1) == {"FINISHED"} and len(prefs.folders) == 1
    prefs.engine_kind = "INSTALLED"
    assert session.engine_path("/mnt/a/x") == "/mnt/a/x" and not session.remote()


def test_the_old_pair_moves_into_the_list(prefs):
    """What version 0.1.0 saved."""
    prefs.path_here, prefs.path_there = "/mnt/here", "/srv/there"
    for _ in range(2):
        preferences_page._move_old_pair()
        assert [(item.here, item.there) for item in prefs.folders] == [("/mnt/here", "/srv/there")]
    assert prefs.path_here == prefs.path_there == ""


def test_every_property_of_the_preferences_has_words(prefs):
    for cls in preferences_page.CLASSES:
        for prop in cls.bl_rna.properties:
            if prop.identifier in cls.__annotations__ and prop.type != "COLLECTION":
                assert prop.description, f"{cls.__name__}.{prop.identifier}"


def test_every_button_has_words(scene):
    for cls in (*engine_operators.CLASSES, *installation.CLASSES):
        assert cls.__doc__ and len(cls.__doc__) > 20 and not cls.__doc__.endswith("."), cls.__name__
        shown = getattr(bpy.ops.blendsplat, cls.bl_idname.partition(".")[2]).get_rna_type().properties
        for name in cls.__annotations__:
            assert name not in shown or shown[name].description, f"{cls.__name__}.{name}"


def test_the_addons_version():
    assert preferences.version() == "0.1.0"
