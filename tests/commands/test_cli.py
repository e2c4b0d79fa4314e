# SPDX-License-Identifier: Apache-2.0
"""The command line: help, wrong usage, exit codes, cancelling, JSON; with fake work in place of hours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import blendsplat
from blendsplat.cli import app
from blendsplat.commands.avatar import parse_crop, parse_settings, parse_size
from blendsplat.errors import NoFaceError, StorageError
from blendsplat.jobs import kinds
from blendsplat.progress import Progress
from tiny_clip import write_tiny_clip

COMMANDS = (
    "track",
    "correct",
    "train",
    "batch",
    "fit-image",
    "evaluate-fit",
    "evaluate-coverage",
    "evaluate-tracking",
    "evaluate-head",
    "export-head",
    "generate-heads",
    "train-kaolrm",
    "render",
    "evaluate",
    "evaluate-reenactment",
    "export",
    "import-recording",
    "export-vhap",
    "convert-performance",
    "weights",
    "info",
    "demo",
    "serve",
)


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLENDSPLAT_LOG_DIR", str(tmp_path / "logs"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def fake(monkeypatch: pytest.MonkeyPatch, name: str, work: Callable[[Any, Progress], dict[str, Any]]) -> None:
    kind = kinds.KINDS[name]
    monkeypatch.setitem(kinds.KINDS, name, kinds.JobKind(name, kind.doing, kind.options, work))


def started(*arguments: str, folder: Path, **more: Any) -> subprocess.Popen[str]:
    package = str(Path(blendsplat.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": package, "BLENDSPLAT_LOG_DIR": str(folder), "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [sys.executable, "-m", "blendsplat", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        encoding="utf-8", env=environment, **more,
    )  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.count(f"blendsplat {command}") >= 2  # the usage line, and an example


def test_no_command_shows_the_help() -> None:
    result = run()
    assert all(command in result.output for command in COMMANDS)
    assert "Exit codes" in result.output


def test_version() -> None:
    assert run("--version").stdout.strip() == f"blendsplat {blendsplat.__version__}"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["train", "no folder", "-o", "a"], 2, "no folder is not a clip folder"),
        (["track", "nothing.mp4", "-o", "{tmp}/clip"], 2, "nothing.mp4 does not exist"),
        (["track", "nothing.mp4"], 2, "name the one to write with -o"),
        (["track", "a.mp4", "-o", "{tmp}/c", "--size", "3"], 2, "'size' cannot be 3"),
        (["track", "a.mp4", "-o", "{tmp}/c", "--start", "nan"], 2, "'start'"),
        (["render", "a.npz", "-p", "b", "-o", "c.mov"], 2, "c.mov cannot be written"),
        (["render", "a.npz", "-p", "b", "-o", "c.mp4", "--background", "transparent"], 2, "no transparency"),
        (["render", "a.avatar.npz", "-p", "b", "-o", "c.mp4"], 2, "a.avatar.npz does not exist"),
        (["export", "a", "-p", "b", "--ply", "c", "--frame", "-1"], 2, "'frame' cannot be -1"),
        (["import-recording", "{tmp}", "-o", "{tmp}/c", "--head", "human"], 2, "neither VHAP's export"),
        (["export-vhap", "{tmp}", "-o", "{tmp}/c"], 2, "is not a clip folder"),
        (["fit-image", "{tmp}/a.png", "-o", "{tmp}/c", "--weights", "none"], 2, "a.png does not exist"),
        (["fit-image", "a.png", "-o", "c", "--focal", "-3"], 2, "'focal' cannot be -3"),
        (["export-head", "{tmp}", "-o", "{tmp}/h.glb"], 2, "does not exist"),
        (["evaluate-fit"], 2, "at least one folder"),
        (["evaluate-fit", "a", "--scan", "{tmp}/s.obj"], 2, "seven landmarks"),
        (["evaluate-fit", "--self-test", "--people", "0"], 2, "'people' cannot be 0"),
        (["generate-heads", "-o", "{tmp}/h", "--layout", "stereo"], 2, "'layout' cannot be 'stereo'"),
        (["train-kaolrm", "{tmp}", "-o", "{tmp}/w", "--preset", "no such"], 2, "no preset 'no such'"),
        (["train-kaolrm", "{tmp}", "-o", "{tmp}/w", "--stage", "3"], 2, "'stage' cannot be 3"),
        (["train-kaolrm", "{tmp}", "-o", "{tmp}/w", "--stage", "1"], 2, "knows no --from, --stage and --head"),
        (["evaluate", "a", "b", "--device", "tpu"], 2, "'device' cannot be 'tpu'"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    result = run(*(a.format(tmp=tmp_path) for a in arguments))
    assert result.exit_code == code, result.output
    assert words in result.stderr and "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [["train"], ["fly"], ["train", "x", "-o", "y", "--set", "novalue"], ["track", "a", "-o", "b", "--crop", "1,2"],
     ["render", "a", "-p", "b", "-o", "c", "--size", "12y7"], ["track", "a", "-o", "b", "--end", "soon"]],
)  # fmt: skip
def test_wrong_usage_exits_with_two(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (NoFaceError("No face was found in x.mp4."), 3, "No face"),
        (StorageError("The disk is full."), 4, "disk"),
        (MemoryError(), 5, "memory ran out while training"),
        (ZeroDivisionError("oops"), 70, "ZeroDivisionError: oops"),
        (KeyboardInterrupt(), 130, "Cancelled. What was trained so far is kept"),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, code: int, words: str
) -> None:
    def work(options: Any, progress: Progress) -> dict[str, Any]:
        raise error

    fake(monkeypatch, "train", work)
    result = run("train", "d", "-o", "o")
    assert result.exit_code == code and words in result.stderr and "Traceback" not in result.stderr
    if code == 70:
        log = next((tmp_path / "logs").glob("command-*.log"))
        assert str(log) in result.stderr and "Traceback" in log.read_text()
        assert "Traceback" in run("train", "d", "-o", "o", "--verbose").stderr
    as_json = run("train", "d", "-o", "o", "--json")
    assert as_json.exit_code == code and json.loads(as_json.stdout)["error"]["message"]


def test_options_reach_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []

    def work(options: Any, progress: Progress) -> dict[str, Any]:
        got.append(options)
        progress.update("train", 1, 2, "a note [with brackets]", loss=0.5)
        return {"avatar": "x", "figures": {"psnr": 31.25, "loss": None}, "notes": ["Continuing."]}

    fake(monkeypatch, "train", work)
    result = run("train", "dir ü", "-o", "a.npz", "--set", "images=20", "--set", "name=a=b", "--preset", "draft")
    assert result.exit_code == 0, result.output
    assert got[0].overrides == {"images": "20", "name": "a=b"} and got[0].preset == "draft"
    assert got[0].directory == Path("dir ü")
    assert "a.avatar.npz is trained. psnr 31.25" in result.stdout and "Continuing." in result.stdout
    assert "a note [with brackets]" in result.stderr and "loss 0.5" in result.stderr
    assert json.loads(run("train", "d", "-o", "a", "--json").stdout)["figures"] == {"psnr": 31.25, "loss": None}


def test_defaults_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []

    def work(options: Any, progress: Progress) -> dict[str, Any]:
        got.append(options)
        return {"valid": 1, "frames": 1}

    fake(monkeypatch, "import", work)
    fake(monkeypatch, "track", work)
    assert run("track", "v.mp4", "-o", "d", "--crop", "1,2,300").exit_code == 0
    assert got[0] == kinds.KINDS["import"].options(video=Path("v.mp4"), directory=Path("d"), crop=(1, 2, 300))
    assert got[1] == kinds.KINDS["track"].options(directory=Path("d"))


def test_what_tracking_starts_from_is_told_and_checked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []
    for name in ("import", "track"):
        fake(monkeypatch, name, lambda o, p: got.append(o) or {"valid": 1, "frames": 1, "notes": ["Two people."]})  # type: ignore[misc,func-returns-value]
    result = run("track", "v.mp4", "-o", "d", "--init", "kaolrm", "--weights", "w ü")
    assert (got[1].init, got[1].weights) == ("kaolrm", "w ü") and "Two people." in result.stdout
    lens = ("--focal", 35, "--lens-shift", "0.1", "-0.05", "--zooms", "--refine", "none")
    assert run("track", "v.mp4", "-o", "d", *lens).exit_code == 0
    told = got.pop()
    got.pop()
    assert (told.focal, told.lens_shift, told.zooms, told.refine) == (35, (0.1, -0.05), True, "none")
    result = run("track", "v.mp4", "-o", "d", "--focal", "0")
    assert result.exit_code == 2 and "focal" in result.stderr
    result = run("track", "v.mp4", "-o", "d", "--init", "guess")
    assert result.exit_code == 2 and "init" in result.stderr and "kaolrm" in result.stderr
    assert len(got) == 2  # no import of minutes before the mistake is told


def test_corrections_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []
    fake(monkeypatch, "correct", lambda o, p: got.append(o) or {"corrected": 2, "notes": []})  # type: ignore[misc,func-returns-value]
    result = run("correct", "talk ü", "--forget", 12, "--no-overlay")
    assert result.exit_code == 0 and "2 corrected frames" in result.stdout
    assert got == [kinds.KINDS["correct"].options(directory=Path("talk ü"), forget=12, overlay=False)]


@pytest.mark.parametrize(
    ("pixels", "words"), [("clip", "whatever its head (82 %)"), ("common", "in all"), ("own", "no other head")]
)
def test_scores_say_which_pixels_they_are_of(monkeypatch: pytest.MonkeyPatch, pixels: str, words: str) -> None:
    got: list[Any] = []

    def work(options: Any, progress: Progress) -> dict[str, Any]:
        got.append(options)
        return {"psnr": 31.2, "ssim": 0.95, "frames": 45, "pixels": pixels, "share": 0.82}

    fake(monkeypatch, "evaluate", work)
    result = run("evaluate", "a.avatar.npz", "d", "--common", "e", "--common", "f", "--pixels", "own")
    assert got[0].common == [Path("e"), Path("f")] and got[0].pixels == "own"
    assert "PSNR 31.20 dB" in result.stdout and "45 held-out" in result.stdout and words in result.stdout


def test_tracking_an_imported_clip_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    got: list[str] = []
    for name in ("import", "track"):
        fake(monkeypatch, name, lambda o, p, name=name: got.append(name) or {"valid": 1, "frames": 1})  # type: ignore[misc]
    (tmp_path / "clip.json").write_text("{}")
    assert run("track", tmp_path).exit_code == 0
    assert got == ["track"]
    result = run("track", tmp_path, "--size", "256")
    assert result.exit_code == 2 and "import the video again" in result.stderr


def test_the_same_command_goes_on_after_it_was_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The clip was imported, the tracking cut off: not imported again. What is finished is not written over unasked."""
    write_tiny_clip(tmp_path)
    (tmp_path / "tracking.npz").unlink()
    told = json.loads((tmp_path / "clip.json").read_text())
    (tmp_path / "clip.json").write_text(json.dumps({**told, "notes": ["The crop sticks out."]}))
    got: list[str] = []
    for name in ("import", "track"):
        fake(monkeypatch, name, lambda o, p, name=name: got.append(name) or {"valid": 1, "frames": 1, "notes": [name]})  # type: ignore[misc]
    alike: list[bool] = [True]
    monkeypatch.setattr("blendsplat.video.clip_import.is_import_of", lambda *_: alike[0])
    result = run("track", "v.mp4", "-o", tmp_path)
    assert result.exit_code == 0 and got == ["track"]
    assert "The crop sticks out.\n" in result.stdout, "what the import said is told again"
    run("track", "v.mp4", "-o", tmp_path, "--overwrite")
    alike[0] = False
    result = run("track", "v.mp4", "-o", tmp_path)
    assert got == ["track", "import", "track", "import", "track"]
    assert "import\n" in result.stdout, "what the import had to say is told"
    told = json.loads(run("track", "v.mp4", "-o", tmp_path, "--json").stdout)
    assert told["notes"] == ["import", "track"], "to programs as well"
    del got[-2:]
    alike[0] = True
    (tmp_path / "tracking.npz").write_text("whole")
    run("track", "v.mp4", "-o", tmp_path)
    assert got[-2:] == ["import", "track"], "which then refuses"


def test_small_parsers() -> None:
    import typer

    assert parse_size("640x360") == (640, 360) and parse_size("512") == (512, 512) and parse_size(None) == (None, None)
    assert parse_crop("1,2,3") == (1, 2, 3) and parse_crop(None) is None
    assert parse_settings(["a=1", "b = x=y"]) == {"a": "1", "b": "x=y"}
    for function, bad in ((parse_size, "1x2x3"), (parse_size, ""), (parse_crop, "a,b,c"), (parse_settings, ["=1"])):
        with pytest.raises(typer.BadParameter):
            function(bad)  # type: ignore[operator]


def test_info_as_json(tmp_path: Path) -> None:
    process = started("info", "--json", folder=tmp_path)
    output, _ = process.communicate(timeout=120)
    described = json.loads(output)
    assert process.returncode == 0 and described["version"] == blendsplat.__version__ and described["devices"]


def test_exit_code_of_the_process_and_odd_paths(tmp_path: Path) -> None:
    process = started("train", "Grüße 影/no clip", "-o", "x", folder=tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and "Grüße 影/no clip" in errors.replace("\\", "/")


SLOW_JOB = """
import sys, time
from pathlib import Path
from blendsplat.jobs import kinds
from blendsplat.cli import main

def work(options, progress):
    for step in range(600):
        progress.update("train", step, 600)
        print("working", flush=True)
        time.sleep(0.1)
        if {obedient}:
            progress.check()

kind = kinds.KINDS["train"]
kinds.KINDS["train"] = kinds.JobKind("train", "training", kind.options, work)
sys.argv = ["blendsplat", "train", "d", "-o", "o"]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("obedient", "presses"), [(True, 1), (False, 2)])
def test_ctrl_c(tmp_path: Path, obedient: bool, presses: int) -> None:
    """Once: the job stops where it checks. Twice: at once, even if it never checks."""
    package = str(Path(blendsplat.__file__).parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_JOB.format(obedient=obedient)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": package, "BLENDSPLAT_LOG_DIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Cancelled. What was trained so far is kept" in errors and "Traceback" not in errors
