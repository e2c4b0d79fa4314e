# SPDX-License-Identifier: Apache-2.0
"""A slice of the campaign's long run: a few jobs in one engine, and what counts as growth."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from engine_client import EngineProcess
from soak.long import one_cycle
from soak.steps import World
from soak.vitals import Vital, Vitals, vital_of


def vitals(*memory: float, files: int = 7, threads: int = 9, more: int = 0) -> Vitals:
    """A sample a minute; ``more`` files open with each."""
    return Vitals(0, [Vital(60.0 * i, mb, files + more * i, threads) for i, mb in enumerate(memory)])


def test_growth_is_seen_and_steadiness_is_not() -> None:
    warm = [100.0, 400.0]  # everything is loaded in the first
    assert vitals(*warm, *[500.0 + i % 3 for i in range(30)]).grown() == ""
    assert "memory grew by" in vitals(*warm, *[500.0 + 10 * i for i in range(30)]).grown()
    assert "files grew" in vitals(*[500.0] * 30, more=1).grown()
    assert vitals(500.0, 900.0).grown() == "" and vitals().told() == "0 samples"
    assert "500 -> 500 MB, +0.00 MB/min; 7 -> 7 files; 9 -> 9 threads" in vitals(*[500.0] * 12).told()
    assert vitals(*[500.0] * 40).curve().count("\n") == 14


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_a_process_is_looked_at() -> None:
    begun = time.monotonic()
    before = vital_of(os.getpid(), begun)
    with open(os.devnull):
        assert vital_of(os.getpid(), begun).files == before.files + 1
    assert before.memory_mb > 10 and before.threads >= 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_two_cycles_leave_no_file_open(world: World, tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path)
    seen = Vitals(engine.process.pid)
    for _ in range(2):
        assert one_cycle(engine, tmp_path / "work", None, world.earlier) == ""
        seen.settle()
    assert engine.close() == 0
    assert seen.settled[1].files == seen.settled[0].files
