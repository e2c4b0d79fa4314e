# SPDX-License-Identifier: Apache-2.0
"""``python -m soak``: two lanes side by side, in each the parts one after the other, then one table."""

from __future__ import annotations

import argparse
import importlib
import platform
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .table import Row, Share, table

# Each part's module and its share of its lane's time. A part whose counts are reached early leaves the rest of its time
# to those behind it. What is measured over a long time runs beside what is tried often.
LANES: tuple[dict[str, float], ...] = (
    {"kills": 24, "disk": 7, "protocol": 5, "files": 10, "threads": 12, "platforms": 2},
    {"long": 60},
)
PARTS = [name for lane in LANES for name in lane]
BEGIN, END = "<!-- soak: written by make soak -->", "<!-- soak end -->"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="for everything together")
    parser.add_argument("--parts", default=",".join(PARTS), help="names, separated by commas: " + ", ".join(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work; kept. Without it a temporary one, removed")
    parser.add_argument("--report", type=Path, help="a Markdown file whose marked lines the table replaces")
    chosen = parser.parse_args()
    names = chosen.parts.split(",")
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="blendsplat-soak-"))
    began = time.monotonic()
    rows: list[Row] = []
    try:
        with ThreadPoolExecutor(len(LANES)) as pool:
            lanes = [{name: weight for name, weight in lane.items() if name in names} for lane in LANES]
            for found in pool.map(lambda lane: _one_lane(lane, folder, chosen.seed, 60.0 * chosen.minutes), lanes):
                rows += found
    finally:
        if chosen.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    minutes = (time.monotonic() - began) / 60.0
    text = (
        f"`make soak` (seed {chosen.seed}): {minutes:.0f} minutes on {platform.system()} {platform.machine()}.\n\n"
        + table(rows)
    )
    print(text)
    if chosen.report:
        _replace(chosen.report, text)
    return int(any(row.survived < row.tried for row in rows))


def _one_lane(lane: dict[str, float], folder: Path, seed: int, seconds: float) -> list[Row]:
    began, rows = time.monotonic(), []
    for index, (name, weight) in enumerate(lane.items()):
        left = max(seconds - (time.monotonic() - began), 0.0)
        share = Share(folder / name, seed, left * weight / sum(list(lane.values())[index:]))
        try:
            for row in importlib.import_module(f"soak.{name}").run(share):
                _tell(row)
                rows.append(row)
        except Exception as error:  # the campaign's own fault, which must not hide what the other parts found
            rows.append(row := Row(name, "the campaign itself"))
            row.bad("".join(traceback.format_exception(error)).strip())
            _tell(row)
    return rows


def _tell(row: Row) -> None:
    print(f"{row.part}: {row.case}: {row.tried} tried, {row.survived} survived, {row.lost} lost", flush=True)
    for failure in row.failures:
        print(f"    {failure}", flush=True)


def _replace(report: Path, text: str) -> None:
    old = report.read_text(encoding="utf-8")
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    report.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
