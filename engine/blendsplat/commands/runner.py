# SPDX-License-Identifier: Apache-2.0
"""Runs a piece of work for a command: progress, Ctrl-C, one sentence per failure, exit codes, results as text or JSON.

Exit codes: 0 done, 1 failed, 2 wrong input, 3 no face, 4 writing failed, 5 out of memory, 70 an error of ours,
130 cancelled.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from blendsplat.commands.console_progress import progress_for
from blendsplat.errors import Cancelled, readable
from blendsplat.jobs.failures import describe_failure
from blendsplat.jobs.kinds import KINDS
from blendsplat.jobs.logs import start_log
from blendsplat.jobs.options import Options, validated
from blendsplat.progress import Progress

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log and, after an error, where it happened.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object, for programs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:0, cuda:1, ...", rich_help_panel="Machine")]


def described(model: type[Options], field: str) -> str:
    """The help text of an option, from its one definition."""
    return model.model_fields[field].description or ""


def default_of(model: type[Options], field: str) -> Any:
    """An option's default, so that its help shows it."""
    return model.model_fields[field].default


def run_command(
    doing: str, work: Callable[[Progress], dict[str, Any]], verbose: bool, as_json: bool, kept: str = ""
) -> dict[str, Any]:
    """Run ``work`` and return its result; on failure report it and exit. ``kept`` says what a cancelled run leaves."""
    console = Console(stderr=True)
    log = start_log("command", to_stderr=verbose)
    try:
        with progress_for(console) as progress, _interruptible(progress):
            return work(progress)
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt):
            error = Cancelled()
        failure = describe_failure(error, doing, str(log) if log else None)
        sentence = failure.sentence
        if failure.code == Cancelled.code and sentence == "Cancelled.":
            sentence = f"Cancelled. {kept}".strip()
        style = "yellow" if failure.code == Cancelled.code else "red"
        console.print(sentence, style=style, markup=False, highlight=False, soft_wrap=True)
        level = logging.INFO if failure.expected else logging.ERROR
        logging.getLogger("blendsplat").log(level, "%s\n%s", failure.sentence, failure.detail)
        if as_json:
            print_json({"error": failure.as_json()})
        raise typer.Exit(failure.exit_code) from None


def options_of(name: str, values: dict[str, Any]) -> Any:
    """A job kind's options as typed by the user (None: left out, so that the definition's default holds)."""
    given = {key: value for key, value in values.items() if value is not None}
    return validated(KINDS[name].options, given, f"The command {name!r}")


def run_job(name: str, values: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Run a job kind with options_of ``values``."""
    return KINDS[name].run(options_of(name, values), progress)


def print_json(value: dict[str, Any]) -> None:
    """One line of JSON on standard output, in ASCII: whoever reads it may speak another encoding."""
    told = json.loads(readable(json.dumps(value, ensure_ascii=False)))
    sys.stdout.write(json.dumps(told, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def report(result: dict[str, Any], as_json: bool, *lines: str) -> None:
    """The result as JSON, or as the given lines."""
    if as_json:
        return print_json(result)
    console = Console()
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _interruptible(progress: Progress) -> Iterator[None]:
    """First Ctrl-C (or SIGTERM): finish the step and keep what there is. Second: stop at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if progress.cancelled:
            raise KeyboardInterrupt
        progress.cancelled = True

    before = {}
    with contextlib.suppress(ValueError):  # only the main thread may set handlers
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
