# SPDX-License-Identifier: Apache-2.0
"""The extension as it is shipped: manifest, zip, what it imports."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import build_addon
import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_zip_is_whole_and_repeatable(tmp_path):
    wheel = tmp_path / "blendsplat-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    first = build_addon.build(tmp_path / "a", [wheel])
    second = build_addon.build(tmp_path / "b", [wheel])
    assert first.read_bytes() == second.read_bytes()
    build_addon.check(first)
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
    assert {
        "__init__.py",
        "blender_manifest.toml",
        "ui/operators/track.py",
        "engine/blendsplat-0.1.0-py3-none-any.whl",
    } <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_engine_and_extension_have_the_same_version():
    text = (ROOT / "engine" / "blendsplat" / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{build_addon.read_manifest()["version"]}"' in text


def test_a_release_is_for_every_python(capsys):
    """A zip with a wheel for one Python sends everybody else to look for it."""
    system = "manylinux_2_28_x86_64"
    wheels = [Path(f"blendsplat-0.1.0-cp{python}-cp{python}-{system}.whl") for python in build_addon.PYTHONS]
    build_addon.check_pythons(wheels, release=True)
    assert f"The engine for {system} runs on Python 3.11, 3.12, 3.13." in capsys.readouterr().out
    build_addon.check_pythons(wheels[:1], release=False)
    assert "runs on Python 3.11." in capsys.readouterr().out
    with pytest.raises(build_addon.BuildError, match=r"lacks a wheel for Python 3.12, 3.13"):
        build_addon.check_pythons([*wheels[:1], *[Path("blendsplat-0.1.0-cp312-cp312-win_amd64.whl")]], release=True)
    build_addon.check_pythons([Path("blendsplat-0.1.0-cp311-abi3-win_amd64.whl")], release=True)


def test_foreign_imports_are_refused(tmp_path, monkeypatch):
    build_addon.check_imports()
    monkeypatch.setattr(build_addon, "ROOT", tmp_path)
    (tmp_path / "bad.py").write_text("def f():\n    import torch.nn\n")
    with pytest.raises(build_addon.BuildError, match="torch"):
        build_addon.check_imports(tmp_path)


def test_a_wrong_manifest_is_refused(tmp_path):
    text = (ROOT / "blender_addon" / "blender_manifest.toml").read_text(encoding="utf-8")
    (tmp_path / "blender_manifest.toml").write_text(text.replace('version = "0.1.0"', 'version = "one"', 1))
    with pytest.raises(build_addon.BuildError, match="semantic"):
        build_addon.read_manifest(tmp_path)


def test_batch_makes_a_scene_and_frames(tmp_path):
    """The script for farms, in a process of its own, with the stand-in engine."""
    import synthetic

    synthetic.write_performance(tmp_path / "clip" / "tracking.npz")
    synthetic.write_avatar(tmp_path / "a.avatar.npz")
    words = [
        sys.executable, str(ROOT / "blender_addon" / "batch.py"), "--clip", str(tmp_path / "clip"), "--avatar",
        str(tmp_path / "a.avatar.npz"), "--blend", str(tmp_path / "out" / "s.blend"), "--frames",
        str(tmp_path / "frames"),
        "--count", "3", "--engine", sys.executable, str(Path(__file__).with_name("fake_engine.py")),
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "s.blend").exists()
    assert 3 <= len(list((tmp_path / "frames").glob("frame_*.png"))) <= 4
