# SPDX-License-Identifier: Apache-2.0
"""What the engine says of itself and does to the machine it runs on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blendsplat.errors import BlendsplatError, InputError
from blendsplat.jobs import devices, logs
from blendsplat.serving import system


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_has_cuda", lambda: False)
    assert devices.resolve_device("auto") == devices.resolve_device("cpu") == "cpu"
    with pytest.raises(InputError, match="no device 'cuda' on this machine; it has cpu"):
        devices.resolve_device("cuda")


def test_a_graphics_card_is_chosen_when_the_kernels_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_has_cuda", lambda: True)
    monkeypatch.setattr(devices, "devices", lambda: [{"id": "cpu", "name": ""}, {"id": "cuda:0", "name": ""}])
    monkeypatch.setattr(devices, "kernels", lambda: {"cpu": True, "cuda": True})
    assert devices.resolve_device("auto") == devices.resolve_device("cuda") == "cuda:0"
    monkeypatch.setattr(devices, "kernels", lambda: {"cpu": True, "cuda": False})
    assert devices.resolve_device("auto") == "cpu"
    with pytest.raises(InputError, match="cuda:1"):
        devices.resolve_device("cuda:1")


def test_a_broken_torch_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BlendsplatError, match="PyTorch cannot be loaded"):
        system.describe_engine(None)


@pytest.mark.parametrize(("given", "spins"), [({}, "1000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")])
def test_threads_are_calmed_unless_the_user_has_chosen(given: dict[str, str], spins: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
    code = "import os, blendsplat; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | given, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == spins


def test_old_logs_go_and_an_unwritable_folder_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLENDSPLAT_LOG_DIR", str(tmp_path))
    for day in range(10, 31):
        (tmp_path / f"engine-202001{day}-000000-1.log").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    path = logs.start_log("engine", to_stderr=False)
    assert path is not None and path.exists() and path.parent == tmp_path
    assert len(list(tmp_path.glob("engine-*.log"))) == 10 and (tmp_path / "notes.txt").exists()

    monkeypatch.setenv("BLENDSPLAT_LOG_DIR", str(tmp_path / "notes.txt" / "below a file"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert logs.start_log("engine", to_stderr=False) is not None
