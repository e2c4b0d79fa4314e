# SPDX-License-Identifier: Apache-2.0
"""Progress as people see it: bars keep notes and show what changes in place; logs get few lines."""

from __future__ import annotations

import io
import math

from rich.console import Console

from blendsplat.commands.console_progress import (
    BarProgress,
    LineProgress,
    describe_figures,
    describe_left,
    progress_for,
)


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=160, color_system=None)


def report_training(progress: BarProgress | LineProgress) -> str:
    with progress:
        progress.update("train", 500, 1000, "Continuing after 500 of 1000 images.")
        for done in range(501, 1000):
            progress.update("train", done, 1000, f"{done % 7} images/s [x]", loss=0.5, eta_s=3.0, psnr=math.nan)
        progress.update("train", 1000, 1000)
        progress.update("train", 1000, 1000)
        progress.update("evaluate", 2, 2, "Two faces: the larger one was taken.")
    return progress._console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_lines_are_few() -> None:
    lines = report_training(LineProgress(console(False))).splitlines()
    assert lines == [
        "train: 500 of 1000  Continuing after 500 of 1000 images.",
        "train: 1000 of 1000",
        "evaluate: 2 of 2  Two faces: the larger one was taken.",
    ]


def test_bars_keep_notes_once() -> None:
    output = report_training(BarProgress(console(True)))
    assert output.count("Continuing after 500") == 1 and output.count("Two faces") == 1
    assert "1000/1000" in output and "loss 0.5" in output and "images/s [x]" in output
    assert "nan" not in output and "eta_s" not in output


def test_the_kind_fits_the_console() -> None:
    assert isinstance(progress_for(console(True)), BarProgress)
    assert isinstance(progress_for(console(False)), LineProgress)


def test_time_left() -> None:
    described = [describe_left(s) for s in (None, math.inf, 0, 40.4, 700, 3900, 7199)]
    assert described == ["", "", "0 s left", "40 s left", "12 min left", "1 h 05 min left", "2 h 00 min left"]


def test_lines_tell_the_time_left() -> None:
    progress = LineProgress(console(False))
    progress.update("train", 0, 10, eta_s=125.0)
    assert progress._console.file.getvalue() == "train: 0 of 10  2 min left\n"  # type: ignore[attr-defined]


def test_figures() -> None:
    assert describe_figures({"loss": 0.01234567, "psnr": 30.0, "x": math.inf, "eta_s": 4.0}) == "loss 0.01235  psnr 30"


def test_notes_stay() -> None:
    for kind, terminal in ((BarProgress, True), (LineProgress, False)):
        with kind(console(terminal)) as progress:
            progress.update("clips", 0, 2, "ann: train 40%")
            progress.note("ben [x]: No face was found.")
            progress.update("clips", 1, 2)
        shown = progress._console.file.getvalue()  # type: ignore[attr-defined]
        assert "ben [x]: No face was found.\n" in shown
