# SPDX-License-Identifier: Apache-2.0
"""The extension as it is shipped: manifest, zip, what it imports; the environment it makes for the engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import build_addon
import pytest
from blender_addon.client import install

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


@pytest.mark.parametrize(
    ("says", "flavour"),
    [
        ("CUDA Version: 12.9", "cu128"),
        ("CUDA Version: 13.0", "cu130"),
        ("CUDA Version: 12.4", "cpu"),
        ("broken", "cpu"),
    ],
)
def test_torch_for_this_machine(says, flavour):
    if sys.platform == "darwin":
        pytest.skip("no CUDA on this system")
    assert install.torch_flavour(lambda *a, **k: SimpleNamespace(stdout=says)) == flavour


def test_no_card_means_cpu():
    def absent(*_a, **_k):
        raise FileNotFoundError

    assert install.torch_flavour(absent) == "cpu"


def tiny_wheel(folder: Path, name: str, body: str, version: str = "0.1.0", needs: str = "") -> Path:
    """A pure wheel with one module, which needs another package unless ``needs`` is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{name}/__main__.py", body)
        archive.writestr(f"{info}/METADATA", metadata + (f"Requires-Dist: {needs}\n" if needs else ""))
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


HELLO = """
import json, struct, sys
size, rest = struct.unpack("<IQ", sys.stdin.buffer.read(12))
identity = json.loads(sys.stdin.buffer.read(size))["id"]
result = {"protocol": 1, "version": "0.1.0", "python": "3", "torch": "none"}
text = json.dumps({"jsonrpc": "2.0", "id": identity, "result": result})
sys.stdout.buffer.write(struct.pack("<IQ", len(text), 0) + text.encode())
sys.stdout.buffer.flush()
sys.stdin.buffer.read()
"""


@pytest.fixture
def own_pip(monkeypatch):
    """pip without this machine's settings, neither from the environment nor from a configuration file."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


@pytest.fixture
def offline(tmp_path, monkeypatch, own_pip):
    """An installation whose package index is a folder with a stand-in torch, in a place with spaces and umlauts."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", (tmp_path / "index").as_uri())
    tiny_wheel(tmp_path / "index", "torch", "")
    return install.Installation(tmp_path / "the ängine" / "engine", tmp_path / "wheels")


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """An engine's environment with nothing installed yet, for installations that fail: making one takes seconds."""
    folder = tmp_path_factory.mktemp("shared") / "engine"
    subprocess.run([sys.executable, "-I", "-m", "venv", str(folder)], check=True)
    return folder


def test_the_wheel_for_each_python(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for tag in ("cp311-cp311-manylinux_2_28_x86_64", "cp312-cp312-manylinux_2_28_x86_64", "cp313-cp313-win_amd64"):
        (tmp_path / f"blendsplat-0.1.0-{tag}.whl").write_bytes(b"")
    found = install.bundled_wheels(tmp_path)
    assert {version: path.name.split("-")[2] for version, path in found.items()} == {(3, 11): "cp311", (3, 12): "cp312"}
    (tmp_path / "blendsplat-0.1.0-cp311-abi3-manylinux_2_28_x86_64.whl").write_bytes(b"")
    assert (3, 13) in install.bundled_wheels(tmp_path)
    assert install.bundled_wheels(tmp_path / "absent") == {}


@pytest.mark.slow
def test_installation_fails_in_words_and_is_repeated(offline, tmp_path):
    offline.run()
    assert offline.state == "failed" and "without an engine inside" in offline.error
    tiny_wheel(tmp_path / "wheels", "blendsplat", "raise SystemExit(3)")
    broken = install.Installation(offline.directory, offline.wheels)
    broken.run()
    assert broken.state == "failed" and "status 3" in broken.error
    assert not (offline.directory / install.COMPLETE).exists()
    tiny_wheel(tmp_path / "wheels", "blendsplat", HELLO)
    again = install.Installation(offline.directory, offline.wheels)
    again.run()
    assert again.state == "done", again.error
    assert json.loads((offline.directory / install.COMPLETE).read_text())["version"] == "0.1.0"
    assert "Making the engine's environment" not in again.lines, "the environment was made anew"


def test_a_missing_package_is_said(offline, environment, tmp_path):
    offline.directory = environment
    tiny_wheel(tmp_path / "wheels", "blendsplat", HELLO)
    (tmp_path / "index" / "torch-0.1.0-py3-none-any.whl").unlink()
    offline.run()
    assert offline.state == "failed" and "package index" in offline.error


def test_libraries_that_do_not_fit_together_are_said(offline, environment, tmp_path):
    """pip ends with ResolutionImpossible when it has tried several versions in vain."""
    offline.directory = environment
    tiny_wheel(tmp_path / "wheels", "blendsplat", HELLO)
    for version in ("0.1.0", "0.2.0"):
        tiny_wheel(tmp_path / "index", "torch", "", version, needs="blendsplat-absent")
    offline.run()
    assert offline.state == "failed" and any("ResolutionImpossible" in line for line in offline.lines)
    assert "torch could not be downloaded: the package index has no versions" in offline.error
    assert "torch 0.1.0 depends on blendsplat-absent" in offline.error
    assert "choose another Package Index in the add-on's preferences" in offline.error
    assert "PIP_FIND_LINKS" in offline.error and "PIP_CONSTRAINT" not in offline.error


def test_a_conflict_names_the_users_package_index(own_pip):
    said = [
        "ERROR: Cannot install torch because these package versions have conflicting dependencies.",
        "The conflict is caused by:",
        "The user requested torch",
        "The user requested (constraint) torch<0.1",
        "Additionally, some packages in these conflicts have no matching distributions available for your environment:",
        "torch",
        "To fix this you could try to:",
        "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io",
    ]
    sentence = install.explain(said, "https://index.example/simple")
    assert "the package index https://index.example/simple has no versions" in sentence
    assert "(The user requested torch; The user requested (constraint) torch<0.1)" in sentence
    assert "change pip's own settings (its configuration file)" in sentence


def test_what_other_commands_say_is_kept():
    assert install.explain(["ERROR: No space left on device"]).startswith("the disk is full")
    assert install.explain(["ERROR: it broke", "and said more"]) == "ERROR: it broke"
    assert install.explain(["the first line", "the last line"]) == "the last line" and install.explain([]) == ""


def test_cancelling_an_installation(offline, tmp_path):
    tiny_wheel(tmp_path / "wheels", "blendsplat", HELLO)
    offline.start()
    time.sleep(0.3)
    offline.cancel()
    end = time.monotonic() + 60
    while offline.state == "running":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert offline.state == "cancelled" and not (offline.directory / install.COMPLETE).exists()


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
