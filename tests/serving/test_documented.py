# SPDX-License-Identifier: Apache-2.0
"""docs/formats.md names every method, every kind of job and every option of both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blendsplat.jobs.kinds import KINDS, lanes
from engine_client import LocalServer

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
EVERYWHERE = {"device", "landmarker"}  # said once for all kinds


def row_of(name: str) -> str:
    """The table's row that begins with ``name``."""
    rows = [line for line in TEXT.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
    assert len(rows) == 1, f"docs/formats.md has {len(rows)} rows for {name}"
    return rows[0]


@pytest.mark.parametrize("name", KINDS)
def test_kinds(name: str) -> None:
    row = row_of(name)
    for option, field in KINDS[name].options.model_fields.items():
        wanted = rf"\*\*{option}\*\*" if field.is_required() else rf"\b{option}\b"
        assert option in EVERYWHERE or re.search(wanted, row), f"{name}: {option}"


def test_lanes() -> None:
    (sentence,) = re.findall(r"a lane: `train` \((.*?)\) or `work`", TEXT)
    assert set(sentence.split(", ")) == {name for name, lane in lanes().items() if lane == "train"}


def test_methods(server: LocalServer) -> None:
    for name, (model, _) in {**server.server._quick, **server.server._slow}.items():
        for option in model.model_fields:
            assert f"`{option}`" in row_of(name), f"{name}: {option}"
    row_of("job.start")
    row_of("shutdown")
