# SPDX-License-Identifier: Apache-2.0
"""A slice of the campaign's threads: the kernels' crew under sanitizers, and that these would notice something."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from soak import threads

PROGRAM = threads.ROOT / "tests" / "kernels" / "crew_program.cpp"


@pytest.mark.parametrize("name", threads.SANITIZERS)
def test_the_crew_is_clean(name: str, tmp_path: Path) -> None:
    kind, library, options = threads.SANITIZERS[name]
    if threads.preloaded(library) is None:
        pytest.skip(f"no g++ with {library} here")
    built = tmp_path / "crew"
    sources = [str(PROGRAM), str(threads.KERNELS / "cpu" / "threads.cpp")]
    flags = ["-std=c++17", "-O1", "-g1", f"-fsanitize={kind}", f"-I{threads.KERNELS / 'cpu'}", "-pthread"]
    subprocess.run(["g++", *flags, *sources, "-o", str(built)], check=True)
    words = [*threads.fixed_addresses(), str(built)]
    done = subprocess.run(words, env=options, capture_output=True, encoding="utf-8", errors="replace")
    assert done.returncode == 0 and "Sanitizer" not in done.stderr, done.stderr[-2000:]
    if kind == "thread":
        raced = subprocess.run([*words, "race"], env=options, capture_output=True, encoding="utf-8", errors="replace")
        assert raced.returncode == 66 and "data race" in raced.stderr


def test_every_source_has_its_set() -> None:
    stems = {path.stem for path in (threads.KERNELS / "cpu").glob("*.cpp")}
    assert {*threads.SHARED, *threads.SCALAR} <= stems
    listed = (threads.KERNELS / "CMakeLists.txt").read_text(encoding="utf-8")
    assert all(f"cpu/{stem}.cpp" in listed for stem in stems)


def test_every_group_of_tests_is_there() -> None:
    assert all((threads.ROOT / "tests" / "splatting" / f"test_{case}.py").is_file() for case in threads.CASES)
