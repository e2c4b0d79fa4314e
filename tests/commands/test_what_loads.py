# SPDX-License-Identifier: Apache-2.0
"""What a command imports: the help of all only their first words, and nothing loads torch that does not compute."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from blendsplat.cli import app
from blendsplat.commands import later
from blendsplat.errors import BlendsplatError
from blendsplat.jobs import devices
from engine_client import engine_environment

HEAVY = ("torch", "mediapipe", "scipy", "cv2", "av", "jax", "matplotlib", "trimesh", "PIL", "safetensors")
JOBS = (*HEAVY, "numpy", "pydantic", "blendsplat.jobs")
PROGRAM = """
import sys
from blendsplat.cli import main
sys.argv = ["blendsplat", *sys.argv[1:]]
try:
    main()
finally:
    print("loaded:", *sorted(sys.modules))
"""


def loaded(tmp_path, *arguments: str, ends: int = 0) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], env=engine_environment(tmp_path), capture_output=True, text=True,
        encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert done.returncode == ends, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize(
    ("arguments", "spared"),
    [(("--help",), JOBS), (("--version",), JOBS), (("track", "--help"), HEAVY), (("info",), HEAVY)],
    ids=["help", "version", "one command's help", "info"],
)
def test_what_is_not_loaded(tmp_path, monkeypatch, arguments: tuple[str, ...], spared: tuple[str, ...]) -> None:
    if arguments == ("info",) and devices._may_have_cuda():
        pytest.skip("a graphics card's driver is here, so torch is asked for its devices")
    assert not loaded(tmp_path, *arguments) & set(spared)


def test_no_torch_before_the_video_is_looked_at(tmp_path) -> None:
    assert not loaded(tmp_path, "track", "missing.mp4", "-o", str(tmp_path / "clip"), ends=2) & {"torch", "scipy"}


def test_every_command_is_listed_with_its_own_words() -> None:
    context = typer.main.get_command(app).make_context("blendsplat", ["info"])
    listed = context.command.commands
    assert {"track", "info", "bench"} <= set(listed)
    for name, stand_in in listed.items():
        itself = stand_in.make_context(name, ["--help"], parent=context, resilient_parsing=True).command
        assert itself is not stand_in and itself.name in (name, "")
        assert stand_in.get_short_help_str(500) == itself.get_short_help_str(500)


def test_a_command_that_is_nowhere_is_an_error_at_once() -> None:
    with pytest.raises(KeyError):
        later.add(typer.Typer(), "system.nothing")


@pytest.mark.parametrize(
    ("build", "driver", "asked"),
    [
        ({"cuda": None}, True, False),
        ({"cuda": None, "hip": "6.0"}, False, True),
        ({"cuda": "13.0"}, False, False),
        ({"cuda": "13.0"}, True, True),
    ],
)
def test_torch_is_asked_for_cards_where_it_may_have_one(monkeypatch, build, driver: bool, asked: bool) -> None:
    def load(name: str) -> None:
        if not driver:
            raise OSError(name)

    monkeypatch.setattr(devices, "_torch_build", lambda: {"__version__": "2", **build})
    monkeypatch.setattr(devices.ctypes, "CDLL", load)
    assert devices._may_have_cuda() == asked


def test_a_missing_torch_is_one_sentence(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BlendsplatError, match="PyTorch is not installed"):
        devices.torch_version()
