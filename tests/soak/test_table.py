# SPDX-License-Identifier: Apache-2.0
"""The campaign's counts and table."""

from __future__ import annotations

from soak.table import Row, Share, table


def test_what_failed_is_counted_and_listed() -> None:
    row = Row("kills", "train")
    row.good(1.5, 20.0)
    row.bad("seed 3: the avatar was half-written", lost=True, seconds=4.0)
    text = table([row])
    assert "| kills | train | 2 | 1 | 1 | 4.0 | 20 |" in text
    assert "- seed 3: the avatar was half-written" in text


def test_a_share_ends_by_its_count_or_its_time(tmp_path) -> None:
    assert Share(tmp_path / "a", 0, 1000.0).wants(19, 20) and not Share(tmp_path / "a", 0, 1000.0).wants(20, 20)
    assert not Share(tmp_path / "a", 0, 1000.0, most=2).wants(2, 20)
    assert not Share(tmp_path / "a", 0, 0.0).wants(0, 20)
