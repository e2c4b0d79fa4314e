# SPDX-License-Identifier: Apache-2.0
"""examples/farm by openjd-cli, as a farm runs it: a frame range in chunks, a folder of clips in parts; and the table of
`blendsplat batch` over what a farm left."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import blendsplat
from blendsplat.cli import app
from drawn_clip import PRESET, write_drawn_clip
from video_files import encode_video

FARM = Path(__file__).resolve().parents[2] / "examples" / "farm"
PACKAGE = str(Path(blendsplat.__file__).parent.parent)
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="the templates' scripts are bash")

BLENDER = """#!/bin/bash
# As `blender -b FILE -o OUT -s A -e B -a`, whose frame 8 cannot be rendered.
echo "$*" >> "$(dirname "$0")/calls.txt"
while [ $# -gt 0 ]; do case $1 in -s) first=$2;; -e) last=$2;; -o) out=$2;; esac; shift; done
[ -z "${ENGINE:-}" ] || echo "Error: Engine '$ENGINE' not available for scene 'Scene' (an add-on may need to be ...)"
for ((frame = first; frame <= last; frame++)); do
  if ((frame == ${BROKEN_FRAME:--1})); then echo "Error: the engine is gone" >&2; exit 0; fi
  echo "00:00.123  render  | Saved: '$(printf "${out//######/%06d}.png" "$frame")'"
done
"""


def openjd(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("openjd.cli", reason="openjd-cli is not installed")
    more = {"PYTHONPATH": os.pathsep.join(filter(None, (PACKAGE, os.environ.get("PYTHONPATH")))), **environment}
    return subprocess.run(
        [sys.executable, "-m", "openjd", *map(str, words)], capture_output=True, text=True, timeout=300,
        env={**os.environ, **more},
    )  # fmt: skip


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["render", "avatars"])
def test_the_templates_are_right(name: str) -> None:
    done = openjd("check", FARM / f"{name}.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def render(folder: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = {"Scene": folder / "a shot.blend", "Frames": folder, "Blender": folder / "blender"}
    parameters = [word for name, value in words.items() for word in ("-p", f"{name}={value}")]
    return openjd("run", FARM / "render.yaml", *parameters, *more, **environment)


@POSIX
@pytest.mark.parametrize(
    ("first", "last", "chunk", "ranges"),
    [(3, 11, 4, [(3, 6), (7, 10), (11, 11)]), (1, 2, 10, [(1, 2)]), (0, 3, 1, [(0, 0), (1, 1), (2, 2), (3, 3)])],
)
def test_a_frame_range_is_split(tmp_path: Path, first: int, last: int, chunk: int, ranges: list) -> None:
    folder = tmp_path / "of a shot"
    folder.mkdir()
    program(folder / "blender", BLENDER)
    done = render(folder, "-p", f"FirstFrame={first}", "-p", f"LastFrame={last}", "-p", f"FramesPerTask={chunk}")
    assert done.returncode == 0, done.stdout + done.stderr
    calls = (folder / "calls.txt").read_text().splitlines()
    assert calls == [f"-b {folder}/a shot.blend -o {folder}/###### -s {a} -e {b} -a" for a, b in ranges]


@POSIX
def test_a_frame_that_was_not_rendered_fails_its_task(tmp_path: Path) -> None:
    """Blender itself says that all is well."""
    program(tmp_path / "blender", BLENDER)
    done = render(tmp_path, "-p", "LastFrame=12", "-p", "FramesPerTask=6", BROKEN_FRAME="8")
    assert done.returncode != 0
    assert "Of the frames 7 to 12 only 1 were saved" in done.stdout and "the engine is gone" in done.stdout


@POSIX
def test_a_machine_without_the_extension_fails(tmp_path: Path) -> None:
    """Blender would render by another engine."""
    program(tmp_path / "blender", BLENDER)
    done = render(tmp_path, "-p", "LastFrame=2", ENGINE="BLENDSPLAT")
    assert done.returncode != 0 and "install the extension there" in done.stdout


@POSIX
@pytest.mark.slow
def test_clips_become_avatars_in_parts(tmp_path: Path) -> None:
    """By the real engine: a tracked clip, and a wall in which no face is found. Then the command itself finds the one
    finished and names the other."""
    clips, avatars = tmp_path / "clips ü", tmp_path / "avatars"
    write_drawn_clip(clips / "talk")
    encode_video(clips / "wall.mp4", [np.full((96, 96, 3), 90, np.uint8)] * 3)
    preset = tmp_path / "tiny.toml"
    preset.write_text(PRESET)
    engine = program(tmp_path / "engine", f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -m blendsplat "$@"\n')
    words = {"Clips": clips, "Avatars": avatars, "Parts": 2, "Preset": preset, "Blendsplat": engine, "Device": "cpu"}
    parameters = [word for name, value in words.items() for word in ("-p", f"{name}={value}")]
    done = openjd("run", FARM / "avatars.yaml", *parameters)
    assert done.returncode != 0 and "No face was found in" in done.stdout, done.stdout + done.stderr
    parts = [json.loads((avatars / "batch" / f"result-{part}-of-2.json").read_text()) for part in (1, 2)]
    assert [[(row["clip"], row["state"]) for row in part["clips"]] for part in parts] == [
        [("talk", "made")], [("wall", "failed")],
    ]  # fmt: skip
    psnr = parts[0]["clips"][0]["psnr"]
    assert psnr > 10 and (avatars / "talk.avatar.npz").is_file()

    made = (avatars / "talk.avatar.npz").stat().st_mtime_ns
    command = ["batch", str(clips), "-o", str(avatars), "--preset", str(preset), "--device", "cpu"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 3, result.output
    line = next(line for line in result.stdout.splitlines() if "talk.avatar.npz" in line)
    assert "kept as it was" in line and f"{psnr:.1f}" in line
    assert "wall: No face was found in" in result.stdout
    assert "1 of 2 avatars are in" in result.stdout and "Traceback" not in result.output
    assert (avatars / "talk.avatar.npz").stat().st_mtime_ns == made
