# SPDX-License-Identifier: Apache-2.0
"""The add-on, enabled in a fresh bpy for every test; the whole folder skips where bpy is not installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

bpy = pytest.importorskip("bpy", reason="the bpy module is not installed here")

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import blender_addon  # noqa: E402
from blender_addon import preferences  # noqa: E402
from blender_addon.client import session  # noqa: E402

FAKE = Path(__file__).with_name("fake_engine.py")
HERE = Path(__file__).resolve().parent
ENGINE = HERE.parents[1] / "engine"


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """An empty scene with the add-on registered; its own files go to the test's folder."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    monkeypatch.setattr(preferences, "user_directory", lambda: tmp_path / "user")
    blender_addon.register()
    yield bpy.context.scene
    session.stop()
    blender_addon.unregister()


@pytest.fixture
def engine(scene, monkeypatch):
    """engine("slow"): the stand-in engine with a misbehaviour, as the add-on's engine."""

    def use(bad: str = "") -> None:
        session.stop()
        monkeypatch.setattr(session, "engine_command", lambda: [sys.executable, str(FAKE), bad])

    use()
    return use


@pytest.fixture
def video(scene, tmp_path) -> Path:
    """A video's place with spaces and letters of three alphabets."""
    path = tmp_path / "мои videos ü" / "Anna spricht 日本.mp4"
    path.parent.mkdir()
    path.write_bytes(b"not read by the stand-in")
    scene.blendsplat.video = str(path)
    return path


@pytest.fixture(scope="session")
def engine_python() -> str:
    python = os.environ.get("BLENDSPLAT_ENGINE_PYTHON", sys.executable)
    if python == sys.executable and importlib.util.find_spec("torch") is None:
        pytest.skip("no engine beside this Blender; name its Python in BLENDSPLAT_ENGINE_PYTHON")
    return python


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The engine from this tree where it was compiled here, else the installed one."""
    paths = [str(HERE), str(HERE.parent / "support")] + (
        [str(ENGINE)] if list((ENGINE / "blendsplat").glob("_kernels_cpu*")) else []
    )
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture
def real(scene, engine_python, environment, monkeypatch):
    """The scene of an add-on whose engine is the real one."""
    monkeypatch.setattr(session, "engine_command", lambda: [engine_python, "-m", "blendsplat", "serve"])
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    return scene


@pytest.fixture(scope="session")
def made(engine_python, environment) -> Callable[[str, Path], Path]:
    """Runs a script of this folder with the engine's Python; it writes into the folder that it is given."""

    def run(script: str, folder: Path) -> Path:
        words = [engine_python, str(HERE / script), str(folder)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return folder

    return run


@pytest.fixture(scope="session")
def dipguava(made, tmp_path_factory) -> Path:
    """A folder with a trained DipGuava and the engine's pictures of it."""
    return made("make_dipguava.py", tmp_path_factory.mktemp("dip ü"))


@pytest.fixture
def dipguava_stage(real, dipguava, tmp_path):
    """The avatar of a file of its own, its clip's performance, rendered with Blendsplat at 96 x 96 pixels."""
    shutil.copy(dipguava / "dip.avatar.npz", tmp_path / "dip.avatar.npz")
    real.render.fps = 25
    real.blendsplat.avatar_file = str(tmp_path / "dip.avatar.npz")
    real.blendsplat.performance = str(dipguava / "clip" / "tracking.npz")
    assert bpy.ops.blendsplat.add_avatar() == {"FINISHED"}
    assert bpy.ops.blendsplat.use_render_engine() == {"FINISHED"}
    real.render.resolution_x = real.render.resolution_y = 96
    real.render.resolution_percentage = 100
    return real
