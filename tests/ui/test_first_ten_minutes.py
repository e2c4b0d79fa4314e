# SPDX-License-Identifier: Apache-2.0
"""Whole Blenders 4.3 and 5.2 from nothing to an engine, with everything that goes wrong on the way."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from playing import FAKE, ROOT, by_name, played


@pytest.fixture
def index(tmp_path):
    """A package index on loopback with torch in it, and one more page whose torch never ends."""
    sys.path.insert(0, str(FAKE.parent))
    from blender_addon.client import torch_builds
    from fake_index import Index

    served = Index(tmp_path / "served")
    served.wheel("simple", "torch", version=torch_builds.VERSION)
    yield served
    served.close()


@pytest.mark.slow
def test_the_first_ten_minutes(blender, index, tmp_path, monkeypatch):
    """Offline, an index that says no, one that is slow and cancelled, the right one; update, preferences, removal;
    an engine behind ssh whose key is unknown, a test picture, a connection that hangs."""
    import build_addon
    from fake_index import engine_wheel

    # Debian's Python cannot make environments: this one is seen by Blender, too
    python = Path(sys.base_prefix)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{python / 'bin'}")
    for name in [name for name in os.environ if name.startswith(("PIP_", "PYENV", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    extension = build_addon.build(tmp_path / "zip", [engine_wheel(tmp_path / "wheels")])
    ssh = tmp_path / "programs" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec python3 {FAKE.with_name("stand_in_ssh.py")} "$@"\n')
    ssh.chmod(0o755)
    folder = tmp_path / "ui"
    folder.mkdir()
    index.slow_while = folder / "slow"
    options = {
        "folder": str(folder), "zip": str(extension), "refused": "https://127.0.0.1:9/simple",
        "index": f"{index.address}/simple", "ssh": f"{ssh} HOST python3 {FAKE}",
    }  # fmt: skip
    steps = by_name(played(blender, "install_scenario.py", options, [ROOT, python]))
    assert steps["offline"][0]["grey"] and steps["online"][0] == {"step": "online", "access": True, "grey": False}
    failed, cancelled = steps["failed"][0], steps["cancelled"][0]
    assert failed["state"] == "failed" and "127.0.0.1:9 refused the connection" in failed["error"] and failed["log"]
    assert steps["log"][0] == {"step": "log", "windows": 1, "text": "Blendsplat engine log"}
    assert (cancelled["state"], cancelled["left"]) == ("cancelled", False) and 0.15 < cancelled["bar"] < 0.7
    assert steps["installed engine"][0]["state"] == "done", steps["installed engine"][0]["error"]
    assert (steps["ready"][0]["state"], steps["ready"][0]["version"]) == ("ready", "0.1.0")
    assert steps["update"][0]["versions"] == ["0.0.9", "0.1.0"] and steps["preferences"][0]["windows"] == 2
    assert "GB are free again" in steps["removed"][0]["sentence"] and not steps["removed"][0]["left"]
    assert "Host key verification failed" in steps["stranger"][0]["sentence"]
    assert "draws as it should" in steps["picture"][0]["lines"][0] and steps["picture"][0]["image"]
    frozen = steps["frozen"][0]
    assert frozen["asked"] < 0.5 and frozen["longest"] < 5 and frozen["silence"] > 10, "Blender's own loop went on"
