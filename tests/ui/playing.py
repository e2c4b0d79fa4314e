# SPDX-License-Identifier: Apache-2.0
"""Plays a scenario in a whole Blender and reads its report."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FAKE = ROOT / "tests" / "blender" / "fake_engine.py"


def played(blender, scenario: str, options: dict, folders: list[Path]) -> dict:
    """A scenario's report, when it came to its end."""
    folder = Path(options["folder"])
    (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")
    done = blender(["--python", str(HERE / scenario), "--", str(folder / "options.json")], folders, 400)
    written = folder / "report.json"
    report = json.loads(written.read_text(encoding="utf-8")) if written.exists() else {"version": "none", "steps": []}
    if keep := os.environ.get("BLENDSPLAT_UI_PICTURES"):
        shutil.copytree(folder, Path(keep) / report["version"].split()[0], dirs_exist_ok=True)
    if not report.get("finished"):
        said = report.get("error") or f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        steps = [step["step"] for step in report["steps"][-3:]]
        pytest.fail(f"{scenario} ended early, {exit_words(done.returncode)}, after the steps {steps}:\n{said}")
    return report


def exit_words(code: int) -> str:
    """A process's exit status with the signal that ended it, as Python (negative) or a shell (above 128) tells it."""
    number = -code if code < 0 else code - 128
    try:
        return f"exit status {code} ({signal.Signals(number).name})"
    except ValueError:
        return f"exit status {code}"


def test_the_exit_status_names_its_signal():
    assert exit_words(-13) == "exit status -13 (SIGPIPE)" and exit_words(141) == "exit status 141 (SIGPIPE)"
    assert exit_words(0) == "exit status 0" and exit_words(1) == "exit status 1" and "255" in exit_words(255)


def test_an_engine_that_dies_leaves_blender_alive(blender, tmp_path):
    """Blender 4.3 leaves SIGPIPE to its default action, which ends the process that writes to a dead engine."""
    command = f"python3 {FAKE} deaf"
    words = ["-b", "--python-exit-code", "1", "--python", str(FAKE.with_name("killed_engine.py"))]
    done = blender([*words, "--", command, str(tmp_path)], [ROOT], 180)
    said = f"{exit_words(done.returncode)}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0 and "still alive" in done.stdout, said
    if "Blender 4.3" in done.stdout:
        assert "SIGPIPE: 0" in done.stdout, "this Blender ignores SIGPIPE: the test shows nothing"


def by_name(report: dict) -> dict[str, list[dict]]:
    """The report's steps, gathered by their names."""
    steps: dict[str, list[dict]] = {}
    for step in report["steps"]:
        steps.setdefault(step["step"], []).append(step)
    return steps
