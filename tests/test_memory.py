# SPDX-License-Identifier: Apache-2.0
"""Large arrays are kept for the next one, and given back when told; in processes of their own, being process-wide."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from blendsplat import memory

ENGINE = Path(memory.__file__).parents[1]
WORK = """
import json, resource, sys, threading
from blendsplat import memory
page = resource.getpagesize()
def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * page
def work():
    for _ in range(20):
        bytearray(b"x") * (1 << 26)  # numpy would ask for huge pages
able = memory.keep_large_arrays() if sys.argv[1] == "keep" else None
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread = threading.Thread(target=work)
thread.start()
thread.join()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
kept = held()
memory.give_back()
print(json.dumps({"able": able, "faults": faults * page, "kept": kept, "after": held()}))
"""


def figures(how: str) -> dict[str, int]:
    run = subprocess.run(
        [sys.executable, "-c", WORK, how], env={"PYTHONPATH": str(ENGINE)}, capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of Linux's C library")
def test_large_arrays_are_kept_and_given_back() -> None:
    plain, keeping = figures("plain"), figures("keep")
    if not keeping["able"]:
        pytest.skip("this C library has no mallopt")
    assert plain["faults"] > 15 << 26 and keeping["faults"] < 3 << 26
    assert keeping["kept"] - keeping["after"] > 1 << 25


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not memory.keep_large_arrays()
    memory.give_back()
