# SPDX-License-Identifier: Apache-2.0
"""A slice of the campaign's damaged files: a few of every kind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from soak import files, hostile_pickles, mutate
from soak.file_kinds import KINDS
from soak.table import Share

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign measures as Linux tells")


@pytest.mark.slow
def test_every_kind_is_refused_in_a_sentence_or_read_whole(tmp_path: Path) -> None:
    rows = list(files.run(Share(tmp_path, seed=0, seconds=120.0, most=4)))
    assert [row.case for row in rows] == list(KINDS) and all(row.tried == 4 for row in rows)
    assert not [failure for row in rows for failure in row.failures]


def test_a_hang_a_crash_and_code_that_runs_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness itself: a process that ends or says nothing is one bad case, not the end of the campaign."""
    monkeypatch.setattr(files, "HUNG", 0.3)
    reader = files.Reader(tmp_path, 0)
    reader._told.add("x")
    reader._known.add("x")
    for script, told in (("import time; time.sleep(60)", "it hangs"), ("raise SystemExit(3)", "the process ended")):
        monkeypatch.setattr(reader, "_started", lambda script=script: _process(script))
        reader._known.add("x")
        assert reader.read("x", 0)[0].startswith(told)


def _process(script: str) -> files.subprocess.Popen[str]:
    pipe = files.subprocess.PIPE
    return files.subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True)


def test_mutations_are_the_same_for_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, hostile_pickles.MARKER, "marker")
    for mutator, data in (
        (mutate.damaged, b"x" * 300),
        (mutate.odd_json, b'{"a": [1, 2]}'),
        (mutate.odd_toml, b"a = 1"),
    ):
        made = [mutator(np.random.default_rng(seed), data) for seed in range(40)]
        assert made == [mutator(np.random.default_rng(seed), data) for seed in range(40)]
        assert len(set(made)) > 10
