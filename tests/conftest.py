# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures: where real test data lies, and a skip that says so when it is absent."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Before torch loads: idle threads must not spin beside other tests, and each of several workers (pytest -n 2) takes one
# core. A test of threads asks for its own number.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

with contextlib.suppress(ImportError):  # Blender's own Pythons have no engine
    importlib.import_module("blendsplat.memory").keep_large_arrays()  # as the command line does

ROOT = Path(__file__).resolve().parent.parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """tests/blender runs when it is named, in a process of its own: bpy hangs at exit beside torch and mediapipe."""
    named = any("blender" in word for word in map(str, config.invocation_params.args))
    return True if collection_path == ROOT / "tests" / "blender" and not named else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first; tests marked gpu are skipped, with the reason, where there is nothing to run them on.

    Whole Blenders take minutes each: at the end one worker would wait for them. One after the other, in one worker's
    share, they do not take each other's time either.
    """
    items.sort(key=lambda item: ROOT / "tests" / "ui" not in item.path.parents)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    from blendsplat.splatting.backend import available_kernels  # tests/blender has no torch

    if not available_kernels()["cuda"]:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device, or the CUDA kernels are not built"))


@pytest.fixture(scope="session")
def test_data() -> Callable[[str], Path]:
    """test_data("video/d18.mp4") -> its path, or skips the test."""
    folder = Path(os.environ.get("BLENDSPLAT_TEST_DATA", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        path = folder / name
        if not path.exists():
            pytest.skip(f"real test data {name!r} is not on this machine (set BLENDSPLAT_TEST_DATA)")
        return path

    return find
