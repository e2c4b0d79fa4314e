# SPDX-License-Identifier: Apache-2.0
"""ARKit's coefficients as text with a line a frame: commas, semicolons, tabs, bars or spaces between the columns."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from blendsplat.errors import FormatError
from blendsplat.exchange.arkit_table import Cell, Table, capture_of
from blendsplat.exchange.capture import Capture, CaptureFormat

SUFFIXES = (".csv", ".tsv", ".txt")
_SEPARATORS = (",", ";", "\t", "|")


def is_table(path: Path) -> bool:
    """Whether the file is text with columns by its name."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def read(path: Path, fps: float | None = None) -> Capture:
    """The capture. Raises FormatError."""
    lines = [
        (number, line) for number, line in enumerate(_text(path).splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]  # fmt: skip
    if not lines:
        raise FormatError(f"{path} is empty; record or export it again.")
    header = lines[0][1]
    separator = max(_SEPARATORS, key=header.count)
    separator = separator if separator in header else ""
    names = [name.strip() for name in _split(header, separator)]
    rows: list[list[Cell]] = [[_decimal(cell, separator) for cell in _split(line, separator)] for _, line in lines[1:]]
    table = Table("a table of ARKit's expressions", names, rows, [f"line {number}" for number, _ in lines[1:]])
    return capture_of(table, path, fps)


def _text(path: Path) -> str:
    """The file's text: UTF-8, or UTF-16 where a mark says so. Raises FormatError."""
    try:
        content = path.read_bytes()
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = content.decode(encoding)
    except (OSError, UnicodeError) as error:
        raise FormatError(f"{path} cannot be read as text.", repr(error)) from error
    if "\0" in text:
        raise FormatError(f"{path} is no text: it holds bytes that stand for nothing.")
    return text


def _split(line: str, separator: str) -> list[str]:
    """A line's cells; no separator: what stands between spaces."""
    return next(csv.reader(io.StringIO(line), delimiter=separator), []) if separator else line.split()


def _decimal(cell: str, separator: str) -> str:
    """0,5 means 0.5 where commas do not stand between the columns."""
    return cell if separator == "," else cell.replace(",", ".")


FORMAT = CaptureFormat("arkit-csv", "a table of ARKit's expressions (.csv, .tsv, .txt)", is_table, read)
