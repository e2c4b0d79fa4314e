# SPDX-License-Identifier: Apache-2.0
"""An evaluation as files: frames.csv for a spreadsheet, summary.json for programs, sheet.png to be looked at."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blendsplat.errors import InputError
from blendsplat.evaluation.avatar import Evaluation
from blendsplat.evaluation.contact_sheet import frame_tiles, sheet, side_tiles
from blendsplat.evaluation.frame_scores import Row, chosen_frames
from blendsplat.files import write_bytes, write_json
from blendsplat.video.clip import encode_png

FRAMES, SUMMARY, SHEET = "frames.csv", "summary.json", "sheet.png"


def check_output(output: Path) -> None:
    """Raise InputError where ``output`` is something else than a folder: better before minutes of work than after."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; choose a folder for {SUMMARY}, {FRAMES} and {SHEET}.")


def write_report(output: Path, evaluation: Evaluation, settings: dict[str, Any]) -> dict[str, str]:
    """Write the three files into ``output`` -> {"table", "summary", "sheet"}: their paths. settings: what was asked
    for. Files of an earlier evaluation there are replaced, nothing else is touched. Raises StorageError."""
    chosen = chosen_frames(evaluation.rows)
    seconds = evaluation.tracked.clip.timestamps
    write_bytes(output / FRAMES, table(evaluation.rows, seconds.tolist()).encode())
    summary = {name: value for name, value in evaluation.result.items() if name != "rows"}
    write_json(output / SUMMARY, {**summary, "chosen_frames": chosen, "settings": settings})
    write_bytes(output / SHEET, encode_png(_picture(evaluation, chosen)))
    return {"table": str(output / FRAMES), "summary": str(output / SUMMARY), "sheet": str(output / SHEET)}


def table(rows: Sequence[Row], timestamps: Sequence[float]) -> str:
    """CSV: frame, its second, then every figure that any frame has; empty where one has it not. timestamps [F]."""
    names = list(dict.fromkeys(key for row in rows for key in row if key != "frame"))
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(["frame", "seconds", *names])
    for row in rows:
        figures = [f"{row[name]:.6g}" if name in row else "" for name in names]
        writer.writerow([row["frame"], f"{timestamps[row['frame']]:.4f}", *figures])
    return written.getvalue()


def _picture(evaluation: Evaluation, chosen: dict[str, int]) -> Any:
    store, scores = evaluation.frames, {row["frame"]: row for row in evaluation.rows}
    rows = []
    for name, number in chosen.items():
        title = f"{name}: frame {number}, {scores[number]['psnr']:.1f} dB"
        place = store.numbers.index(number)
        head = evaluation.tracked.head
        rows.append(frame_tiles(evaluation.avatar, head, store, place, evaluation.camera, title))
    return sheet([*rows, *side_tiles(evaluation.sides)])
