# SPDX-License-Identifier: Apache-2.0
"""Progress in a terminal: a bar per stage with the time left, or plain lines where nobody watches (logs of a farm)."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from blendsplat.jobs.eta import EtaClock
from blendsplat.progress import Progress

_LINE_SECONDS = 10.0


def describe_figures(figures: dict[str, float]) -> str:
    """loss 0.0123  psnr 29.1 (the time left has a place of its own)."""
    shown = {name: value for name, value in figures.items() if name != "eta_s" and math.isfinite(value)}
    return "  ".join(f"{name} {value:.4g}" for name, value in shown.items())


def describe_left(seconds: float | None) -> str:
    """40 s left, 12 min left, 1 h 05 min left; "" while nothing is known."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s left"
    return f"{minutes} min left" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min left"


class ConsoleProgress(Progress):
    """What both kinds have in common: they are context managers, and notes stay."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def note(self, sentence: str) -> None:
        self._console.print(sentence, style="dim", markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> ConsoleProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""


class BarProgress(ConsoleProgress):
    """Bars on standard error, one per stage. What a stage says at its begin or end stays above them as a note."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[figures]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._noted: set[str] = set()

    def __enter__(self) -> BarProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        begins = stage not in self._tasks
        if begins:
            # a resumed stage starts where it was: the time left must not count that as this run's work
            self._tasks[stage] = self._bars.add_task(stage, total=_whole(total), completed=int(done), figures="")
        self._bars.update(self._tasks[stage], completed=_whole(done), total=_whole(total))
        is_note = bool(message) and (begins or done >= total)
        if shown := "  ".join(filter(None, (describe_figures(figures), "" if is_note else message))):
            self._bars.update(self._tasks[stage], figures=escape(shown))
        if is_note and message not in self._noted:
            self._noted.add(message)
            self._console.print(message, style="dim", markup=False, highlight=False)


class LineProgress(ConsoleProgress):
    """A line when a stage begins, ends, and every ten seconds."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._shown = ("", False)  # stage, was it complete
        self._printed = -math.inf
        self._message = ""
        self._eta = EtaClock()

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        now = time.monotonic()
        left = figures.get("eta_s", self._eta.estimate(stage, done, total))
        complete = total > 0 and done >= total
        known = (stage, complete) == self._shown
        news = complete and message and message != self._message
        if known and not news and (complete or now - self._printed < _LINE_SECONDS):
            return
        self._shown, self._printed, self._message = (stage, complete), now, message
        parts = [
            f"{stage}: {done:g} of {total:g}",
            describe_figures(figures),
            message,
            "" if complete else describe_left(left),
        ]
        self._console.print("  ".join(filter(None, parts)), markup=False, highlight=False, soft_wrap=True)


def _whole(value: float) -> int | float:
    return int(value) if float(value).is_integer() else value


def progress_for(console: Console) -> ConsoleProgress:
    """Bars where somebody watches, lines elsewhere."""
    return BarProgress(console) if console.is_terminal else LineProgress(console)
