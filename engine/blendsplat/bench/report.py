# SPDX-License-Identifier: Apache-2.0
"""What a benchmark found, as JSON, as tables on the terminal, and as Markdown between the markers of a page."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from blendsplat.bench.timing import Timing
from blendsplat.errors import InputError
from blendsplat.files import write_bytes

FORMAT = 1
_MARKED = "<!-- bench:{name} -->\n{text}\n<!-- /bench:{name} -->"


@dataclass(frozen=True)
class Row:
    """One measured thing. ``floor_ms``: what the machine needs at least, from the ceilings of the same run."""

    what: str
    threads: int
    median_ms: float
    minimum_ms: float
    processor_ms: float | None = None  # of one thread: hardly longer on a busy machine
    floor_ms: float | None = None
    target_ms: float | None = None
    extra: dict[str, float | str | None] = field(default_factory=dict)  # further columns

    @property
    def times_floor(self) -> float | None:
        """Median over floor: 1 is perfect."""
        return self.median_ms / self.floor_ms if self.floor_ms else None

    def cells(self) -> dict[str, float | int | str | None]:
        """Column -> value, in order; None where there is nothing to say."""
        return {
            "what": self.what, "threads": self.threads, "median ms": self.median_ms, "minimum ms": self.minimum_ms,
            "processor ms": self.processor_ms,
            "floor ms": self.floor_ms, "times the floor": self.times_floor, "target ms": self.target_ms, **self.extra,
        }  # fmt: skip


def row(what: str, threads: int, timing: Timing, **more: Any) -> Row:
    """A row of a timing; ``more`` as in Row."""
    return Row(what, threads, timing.median, timing.minimum, timing.processor if threads == 1 else None, **more)


@dataclass(frozen=True)
class Table:
    """One table. ``name`` is its marker on the page; ``note`` says what was measured and what the floor counts."""

    name: str
    title: str
    note: str
    rows: list[Row]
    command: str = ""

    def columns(self) -> list[str]:
        """Columns in which any row has something to say."""
        names: dict[str, bool] = {}
        for one in self.rows:
            for name, value in one.cells().items():
                names[name] = names.get(name, False) or value is not None
        return [name for name, used in names.items() if used]

    def as_json(self) -> dict[str, Any]:
        rows = [asdict(one) | {"times_floor": one.times_floor} for one in self.rows]
        return {"name": self.name, "title": self.title, "note": self.note, "command": self.command, "rows": rows}


@dataclass
class Report:
    """One run of ``blendsplat bench``."""

    command: str
    machine: dict[str, Any]
    ceilings: list[dict[str, float]]
    tables: list[Table] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """format, command, machine, ceilings, warnings, tables; rows as in Row."""
        return {
            "format": FORMAT, "command": self.command, "machine": self.machine, "ceilings": self.ceilings,
            "warnings": self.warnings, "tables": [table.as_json() for table in self.tables],
        }  # fmt: skip


def number(value: float | int | str | None) -> str:
    """For reading: three significant digits, thousands grouped, nothing for None."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 3 - len(str(int(abs(value)))))}f}" if abs(value) >= 0.1 else f"{value:.2g}"


def rich_table(table: Table) -> RichTable:
    """For the terminal."""
    result = RichTable(title=table.title, caption=table.note, caption_justify="left")
    columns = table.columns()
    for name in columns:
        result.add_column(name, justify="left" if name == "what" else "right", no_wrap=name == "what")
    for one in table.rows:
        cells = one.cells()
        result.add_row(*(number(cells.get(name)) for name in columns))
    return result


def markdown_table(table: Table) -> str:
    """For the page: command, note, table."""
    columns = table.columns()
    lines = [f"| {' | '.join(columns)} |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for one in table.rows:
        cells = one.cells()
        lines.append(f"| {' | '.join(number(cells.get(name)).replace('|', '/') for name in columns)} |")
    command = f"`{table.command}`\n\n" if table.command else ""
    return f"{command}{table.note}\n\n" + "\n".join(lines)


def markdown_machine(report: Report) -> str:
    """The page's header: what it was measured on and with, and what the machine could do."""
    described = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in report.machine.items())
    lines = [f"`{report.command}`", "", f"Machine: {described}.", ""]
    lines += [f"**{warning}**\n" for warning in report.warnings]
    names = ("threads", "memory GB/s", "multiply-adds G/s", "exponentials G/s", "pairs G/s", "pair gradients G/s")
    lines += [f"| {' | '.join(names)} |", "|" + " ---: |" * len(names)]
    for ceiling in report.ceilings:
        values = [f"{value / 1e9:.3g}" for name, value in ceiling.items() if name != "threads"]
        lines.append(f"| {ceiling['threads']} | {' | '.join(values)} |")
    return "\n".join(lines)


def write_page(path: Path, report: Report) -> None:
    """Replace what lies between the markers of the page's tables; everything else is kept as it is.

    Raises InputError, with the page unchanged, when it has no markers for a table of the report.
    """
    try:
        page = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The page {path} cannot be read: {error}") from error
    parts = {"machine": markdown_machine(report)} | {table.name: markdown_table(table) for table in report.tables}
    for name, text in parts.items():
        page = _replaced(page, name, text, path)
    write_bytes(path, page.encode())


def _replaced(page: str, name: str, text: str, path: Path) -> str:
    pattern = re.compile(rf"<!-- bench:{re.escape(name)} -->\n.*?<!-- /bench:{re.escape(name)} -->", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise InputError(
            f"{path} must hold '<!-- bench:{name} -->' and '<!-- /bench:{name} -->' once, each on a line of its own: "
            "the table is written between them."
        )
    return pattern.sub(lambda _: _MARKED.format(name=name, text=text), page)
