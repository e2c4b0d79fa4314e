# SPDX-License-Identifier: Apache-2.0
"""A slice of the campaign's platforms: a source for each compiler that is here, odd folders, what a wheel may hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from soak import platforms


@pytest.mark.parametrize("name", platforms.COMPILERS)
def test_other_compilers_take_the_threads(name: str, tmp_path: Path) -> None:
    program = shutil.which(platforms.COMPILERS[name])
    if program is None:
        pytest.skip(f"no {platforms.COMPILERS[name]} here")
    assert platforms.compile_one(program, platforms.CPU / "threads.cpp", tmp_path) == ""
    broken = tmp_path / "broken.cpp"
    broken.write_text("int main() { return nothing; }\n", encoding="utf-8")
    assert "nothing" in platforms.compile_one(program, broken, tmp_path)


@pytest.mark.skipif(platforms.sys.platform != "linux", reason="locales are named as on Linux")
@pytest.mark.parametrize("language", platforms.LOCALES, ids=["C", "UTF-8"])
def test_an_odd_folder_is_named_in_the_refusal(language: dict[str, str], tmp_path: Path) -> None:
    assert platforms.refused_in_words(tmp_path, "Grüße 影片", language) == ""


def test_what_a_wheel_may_hold() -> None:
    for name in ("heads/load.py", "presets/draft.toml", "_kernels_cpu.cpython-311-x86_64-linux-gnu.so"):
        assert platforms.WHEEL.match(f"blendsplat/{name}")
    for name in (
        "blendsplat/_kernels_cuda_emulated.so",
        "tests/test_files.py",
        "blendsplat/tests/test_a.py",
        "cuda_ext/a.h",
    ):
        assert not platforms.WHEEL.match(name)
