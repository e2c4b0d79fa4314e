# SPDX-License-Identifier: Apache-2.0
"""Every sub-command of ``blendsplat bench`` at sizes that take a moment: rows, JSON, files, and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from blendsplat.bench import curves, machine, subject
from blendsplat.bench.peers import table
from blendsplat.bench.suite import BENCHES
from blendsplat.cli import app
from blendsplat.commands import bench
from tiny_clip import tiny_avatar, tiny_head

TINY = ["--seconds", "0", "--threads", "1", "--gaussians", "60", "--size", "24", "--uv", "12", "--batch", "2"]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BLENDSPLAT_LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.setattr(machine, "TRIAD_FLOATS", 1 << 12)
    monkeypatch.setattr(subject, "TRAINED_IMAGES", 4)
    monkeypatch.setattr(table, "MODULES", ("torch_tiles", "no_such_peer"))  # others would compile for seconds
    monkeypatch.setattr(table, "CHECKED", (40, 20))
    monkeypatch.setattr(curves, "SIZES", (512, 1024))
    monkeypatch.setattr(curves, "COUNTS", (60_000, 400_000))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *(str(a) for a in arguments)])


def check_rows(told: dict[str, Any]) -> None:
    assert told["rows"]
    for row in told["rows"]:
        assert row["threads"] == 1 and 0 < row["minimum_ms"] <= row["median_ms"], row
        assert row["floor_ms"] is None or row["floor_ms"] > 0, row


@pytest.mark.parametrize("name", BENCHES)
def test_a_sub_command(name: str, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    result = run(name, *TINY, "--json", "--file", file)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told == json.loads(file.read_text())
    assert told["command"] == f"blendsplat bench {name} --threads 1 --gaussians 60 --size 24 --batch 2 --uv 12"
    assert told["machine"]["cores"] >= 1 and "torch" in told["machine"] and told["ceilings"][0]["pairs"] > 0
    assert [t["name"] for t in told["tables"]] == [name]
    check_rows(told["tables"][0])


def test_a_missing_peer_is_skipped_with_a_word() -> None:
    (told,) = json.loads(run("peers", *TINY, "--json").stdout)["tables"]
    assert "Not installed, so skipped: blendsplat.bench.peers.no_such_peer" in told["note"]
    ours, peer = (row for row in told["rows"] if row["what"].endswith("forward + backward"))
    assert ours["extra"] == {"times ours": 1.0} and float(peer["extra"]["error"]) < 1e-5


@pytest.mark.slow
def test_all_writes_the_page(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    result = run("all", *TINY, "--write", page)
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    for name in BENCHES:
        start, end = text.index(f"<!-- bench:{name} -->"), text.index(f"<!-- /bench:{name} -->")
        assert f"`blendsplat bench {name} --threads 1" in text[start:end] and "| what | threads |" in text[start:end]
    outside = PAGE.read_text(encoding="utf-8").split("<!-- bench:machine -->")[0]
    assert text.startswith(outside)
    assert "Rasterizer" in result.stdout and "times the floor" in result.stdout


def test_without_a_sub_command_all_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setitem(bench._commands, "all", lambda **options: asked.append(options))
    assert run("--device", "cuda").exit_code == 0 and run().exit_code == 0
    assert asked == [{"device": "cuda"}, {"device": "cpu"}]
    assert run("render", "--help").exit_code == 0 and len(asked) == 2


@pytest.mark.slow
def test_an_avatar_of_the_users(tmp_path: Path) -> None:
    tiny_avatar(tiny_head()).save(tmp_path / "mine.avatar.npz")
    for name in ("animate", "render"):
        result = run(name, *TINY, "--avatar", tmp_path / "mine.avatar.npz", "--json")
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
        assert any(row["what"].startswith("avatar truth") for row in told["tables"][0]["rows"])
        assert str(tmp_path) not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["render", "--threads", "no"], "--threads 'no' cannot be used"),
        (["animate", "--avatar", "missing.avatar.npz"], "missing.avatar.npz does not exist"),
        (["sort", "--write", "missing.md"], "missing.md cannot be read"),
    ],
)
def test_wrong_input_is_one_sentence(arguments: list[str], words: str) -> None:
    result = run(arguments[0], *TINY, *arguments[1:])
    assert result.exit_code == 2, result.output
    assert words in result.stderr and "Traceback" not in result.output
