# SPDX-License-Identifier: Apache-2.0
"""Tables as JSON and Markdown, pages whose hand-written text is kept, timing in turn, ceilings and floors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from blendsplat.bench import floors, machine
from blendsplat.bench.machine import Ceilings
from blendsplat.bench.plan import parse_threads
from blendsplat.bench.report import Report, Row, Table, markdown_table, number, write_page
from blendsplat.bench.timing import FEWEST_ROUNDS, WARM_UPS, Job, Timing, interleaved
from blendsplat.errors import BlendsplatError, Cancelled, InputError
from blendsplat.progress import Progress

CPU = torch.device("cpu")
CEILINGS = Ceilings(1, bytes=50e9, multiply_adds=100e9, exponentials=10e9, pairs=4e9, pair_gradients=2e9)


def report(*rows: Row) -> Report:
    table = Table("render", "Rasterizer", "Milliseconds.", list(rows), "blendsplat bench render")
    return Report("blendsplat bench all", {"processor": "x", "instruction_set": "avx2"}, [], [table])


ROWS = (Row("a|b", 2, 1234.5, 1.0, floor_ms=0.5), Row("c", 1, 12.345, 1.2345, extra={"images/s": 81.0}))


def test_markdown() -> None:
    lines = markdown_table(report(*ROWS).tables[0]).splitlines()
    assert lines[:3] == ["`blendsplat bench render`", "", "Milliseconds."]
    assert lines[4] == "| what | threads | median ms | minimum ms | floor ms | times the floor | images/s |"
    assert lines[6] == "| a/b | 2 | 1,234 | 1.00 | 0.50 | 2,469 |  |"
    assert lines[7] == "| c | 1 | 12.3 | 1.23 |  |  | 81.0 |"
    assert {line.count("|") for line in lines[4:]} == {8}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), ("x", "x"), (3, "3"), (1234567, "1,234,567"), (999.4, "999"), (0.0123, "0.012"), (0.5, "0.50"),
     (1e-7, "1e-07"), (0.0, "0"), (99.96, "100.0")],
)  # fmt: skip
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_json_holds_everything() -> None:
    told = json.loads(json.dumps(report(*ROWS).as_json()))
    assert set(told) == {"format", "command", "machine", "ceilings", "warnings", "tables"} and told["format"] == 1
    (table,) = told["tables"]
    assert set(table) == {"name", "title", "note", "command", "rows"}
    assert table["rows"][0]["times_floor"] == 2469.0 and table["rows"][1]["times_floor"] is None
    assert table["rows"][1]["extra"] == {"images/s": 81.0}


PAGE = """# Mine é
<!-- bench:machine -->
<!-- /bench:machine -->
between \\1
<!-- bench:render -->
old
<!-- bench:other -->
<!-- /bench:render -->
after
"""


def test_a_page_keeps_what_is_written_by_hand(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    write_page(page, report(*ROWS))
    once = page.read_text(encoding="utf-8")
    assert once.startswith("# Mine é\n<!-- bench:machine -->\n`blendsplat bench all`\n")
    assert "\nbetween \\1\n<!-- bench:render -->\n`blendsplat bench render`\n" in once
    assert once.endswith("<!-- /bench:render -->\nafter\n") and "old" not in once and "| c | 1 |" in once
    write_page(page, report(*ROWS))
    assert page.read_text(encoding="utf-8") == once
    write_page(page, report(Row("other", 1, 1.0, 1.0)))
    assert "| other |" in (changed := page.read_text(encoding="utf-8")) and "| c |" not in changed


@pytest.mark.parametrize("without", ["<!-- bench:render -->", "<!-- /bench:render -->", "<!-- bench:machine -->"])
def test_a_page_without_markers_is_left_alone(tmp_path: Path, without: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(broken := PAGE.replace(without, ""), encoding="utf-8")
    with pytest.raises(InputError, match=r"must hold '<!-- bench:(render|machine) -->'"):
        write_page(page, report(*ROWS))
    assert page.read_text(encoding="utf-8") == broken
    with pytest.raises(InputError, match="cannot be read"):
        write_page(tmp_path / "missing.md", report())


def test_the_project_page_has_every_marker() -> None:
    from blendsplat.bench.suite import BENCHES

    page = (Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for name in ("machine", *BENCHES):
        assert page.count(f"<!-- bench:{name} -->\n") == page.count(f"<!-- /bench:{name} -->\n") == 1


def test_jobs_run_in_turn() -> None:
    order: list[str] = []
    before = torch.get_num_threads()
    threads: set[tuple[str, int]] = set()

    def job(name: str) -> Job:
        def run() -> None:
            order.append(name)
            threads.add((name, torch.get_num_threads()))

        return Job(run, {"a": 1, "b": 2}[name])

    timings = interleaved({"a": job("a"), "b": job("b")}, CPU, 0.0)
    assert order == ["a", "b"] * (WARM_UPS + FEWEST_ROUNDS) and threads == {("a", 1), ("b", 2)}
    assert torch.get_num_threads() == before
    assert all(t.rounds == FEWEST_ROUNDS and 0 <= t.minimum <= t.median for t in timings.values())
    assert Timing(6.0, 3.0, 1.5, 4).per(3) == Timing(2.0, 1.0, 0.5, 4)


def test_timing_can_be_cancelled() -> None:
    progress = Progress()
    progress.cancelled = True
    with pytest.raises(Cancelled):
        interleaved({"a": Job(lambda: None)}, CPU, 9.0, progress)


def test_ceilings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "TRIAD_FLOATS", 1 << 16)
    ceilings = machine.measure_ceilings(1, CPU, 0.01)
    rates = dataclasses.asdict(ceilings)
    assert rates.pop("threads") == 1 and all(0 < rate < float("inf") for rate in rates.values())
    monkeypatch.setitem(machine._ARITHMETIC, "multiply_adds", (10, 0.5 + 1e-2, 1e-6))
    with pytest.raises(BlendsplatError, match="multiply_adds computed"):
        machine.measure_ceilings(1, CPU, 0.01)


def test_ceiling_kernels_compute_what_they_say() -> None:
    from blendsplat.splatting.backend import cpu_backend

    kernels = cpu_backend().kernels
    offsets = torch.arange(4).double() - 1.5
    squared = offsets[:, None] ** 2 + offsets[None] ** 2
    power = -0.01 * squared - 0.002 * offsets[:, None] * offsets[None]
    alpha = 0.01 * 2**power  # the faint, wide Gaussians of ceilings.cpp, 64 times
    before = kernels.instruction_set()
    for name in ("avx512", "avx2", "generic", "scalar"):
        if not kernels.use_instruction_set(name):
            continue
        coverage, count = kernels.ceiling("pairs", 3)
        assert coverage == pytest.approx(float((1 - (1 - alpha) ** 64).mean()), rel=1e-5)
        assert count == 3 * 64 * 16
        assert kernels.ceiling("pair_gradients", 2)[0] == pytest.approx(
            kernels.ceiling("pair_gradients", 9)[0], rel=1e-5
        )
        assert kernels.ceiling("multiply_adds", 100)[0] == pytest.approx(0.5, abs=1e-6)
        assert kernels.ceiling("exponentials", 100)[0] == pytest.approx(0.641185744, abs=1e-6)
    kernels.use_instruction_set(before)
    with pytest.raises(ValueError):
        kernels.ceiling("fast", 1)


def test_floors_take_the_longer_of_memory_and_arithmetic() -> None:
    assert floors.rasterize_forward(4_000_000, 0, 0, CEILINGS) == pytest.approx(1.0)
    assert floors.rasterize_forward(4, 10**6, 10**6, CEILINGS) == pytest.approx(1e3 * (56 + 20) * 1e6 / 50e9)
    assert floors.adam(10**6, CEILINGS) == pytest.approx(0.56)
    one, ten = (floors.blend_forward(60_000, 20, images, CEILINGS) for images in (1, 10))
    assert one < ten < 10 * one  # bases are read once for the batch


def test_more_threads_are_not_slower() -> None:
    starved = Ceilings(2, bytes=1e9, multiply_adds=180e9, exponentials=10e9, pairs=1e9, pair_gradients=3e9)
    assert starved.at_least(CEILINGS) == Ceilings(2, 50e9, 180e9, 10e9, 4e9, 3e9)


def test_warnings() -> None:
    assert machine.busy_warning(None) is None and machine.busy_warning(0.0) is None
    assert "busy" in (machine.busy_warning(99.0) or "")
    faster = Ceilings(1, 50e9, 120e9, 10e9, 4e9, 2e9)
    assert machine.drift_warning(CEILINGS, CEILINGS) is None
    assert "+20 %" in (machine.drift_warning(CEILINGS, faster) or "")


def test_threads() -> None:
    assert parse_threads("2,1,2", CPU) == (2, 1)
    assert parse_threads(None, torch.device("cuda")) == (1,) and 1 in parse_threads(None, CPU)
    for bad in ("", "0", "a", "1,,2", "9999"):
        with pytest.raises(InputError, match="--threads"):
            parse_threads(bad, CPU)
