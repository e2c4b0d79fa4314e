# SPDX-License-Identifier: Apache-2.0
"""Finds the tool that runs whole Blenders with a window; without it, or without a Blender set up, these tests skip."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if (here := str(Path(__file__).parent)) not in sys.path:
    sys.path.insert(0, here)
TOOL = Path(os.environ.get("REAL_BLENDER", ROOT.parent / "shared" / "tools" / "real-blender"))


@pytest.fixture(scope="session")
def extension(tmp_path_factory) -> Path:
    """The zip, without an engine inside."""
    sys.path.insert(0, str(ROOT))
    import build_addon

    return build_addon.build(tmp_path_factory.mktemp("zip"), [])


VERSIONS = ("4.3", "5.2")


@pytest.fixture(params=VERSIONS)
def blender(request, tmp_path):
    """blender(words, folders) runs a whole Blender of this version with a window; its own settings lie in tmp_path.

    A scenario takes a minute or two, so one run of all tests plays each in one Blender, the scenarios by turns; with
    BLENDSPLAT_UI=all, or with -k and a version, in both."""
    version = request.param
    turn = VERSIONS[zlib.crc32(request.node.originalname.encode()) % len(VERSIONS)]
    chosen = os.environ.get("BLENDSPLAT_UI") == "all" or any(one in request.config.option.keyword for one in VERSIONS)
    if version != turn and not chosen:
        pytest.skip(f"its turn is in {turn}; BLENDSPLAT_UI=all plays it in both")
    if not os.access(TOOL, os.X_OK):
        pytest.skip("the tool real-blender is not on this machine")
    home = Path(os.environ.get("REAL_BLENDER_HOME", Path.home() / ".cache" / "real-blender"))
    if not (home / version / ".ready").exists():
        pytest.skip(f"Blender {version} is not set up; run: {TOOL} setup {version}")
    root = home / version
    if subprocess.run(["chroot", str(root), "python3", "-c", "import numpy"], capture_output=True).returncode != 0:
        pytest.skip(f"Debian's Blender {version} lacks numpy; run: chroot {root} apt-get install -y python3-numpy")

    def run(words: list[str], folders: list[Path], timeout: float) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "BLENDER_USER_RESOURCES": str(tmp_path / "user"),
            "REAL_BLENDER_BIND": ":".join(map(str, {*folders, tmp_path})),
        }  # fmt: skip
        command = [str(TOOL), "run", version, "--factory-startup", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, errors="replace", timeout=timeout
        )

    return run
