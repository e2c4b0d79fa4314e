# SPDX-License-Identifier: Apache-2.0
"""Starts a worker process for a clip, hears it, stops it, and tries again when it dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsplat.batch.clips import Unit
from blendsplat.batch.make import Outcome, outcome_of
from blendsplat.batch.recipe import Recipe
from blendsplat.errors import Cancelled

ATTEMPTS = 2  # of a worker that dies: once may be the machine's fault, twice is the clip's
WORKER = ("-m", "blendsplat.batch.worker")  # words after this Python's own
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
_PACKAGE = Path(__file__).resolve().parents[2]  # the folder in which the worker finds this very package
Heard = Callable[[str, float], None]  # stage, share


@dataclass(frozen=True)
class Work:
    """How a clip's worker is started."""

    recipe: Recipe
    threads: int
    words: Sequence[str] = WORKER


class Child:
    """One clip's worker, which may be started several times; ``stop`` and ``kill`` may come from another thread."""

    def __init__(self, unit: Unit, work: Work) -> None:
        self.unit, self.work = unit, work
        self.stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._changing = threading.Lock()

    def run(self, heard: Heard = lambda stage, share: None) -> Outcome:
        """Until there is an outcome, or the worker has died ATTEMPTS times."""
        for attempt in range(1, ATTEMPTS + 1):
            told, code = self._attempt(heard)
            if told is not None:
                return Outcome(**{**told, "attempts": attempt})
            if self.stopped:
                return outcome_of(self.unit, "cancelled", problem=Cancelled().sentence, exit_code=130, attempts=attempt)
        return outcome_of(
            self.unit, "failed", code="died", exit_code=1, attempts=ATTEMPTS,
            problem=f"Its worker died {_times(ATTEMPTS)} ({how_it_ended(code)}); {self.unit.log.name} has the details.",
        )  # fmt: skip

    def stop(self) -> None:
        """Let it keep what there is, and end."""
        with self._changing:
            self.stopped = True
            if self._process is not None and self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()

    def leave(self, seconds: float) -> None:
        """Stop it and wait for its end so long; then kill it."""
        self.stop()
        process = self._process
        if process is not None:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        with self._changing:
            self.stopped = True
            if self._process is not None:
                self._process.kill()

    def _attempt(self, heard: Heard) -> tuple[dict[str, Any] | None, int]:
        """(outcome, exit code); None: the worker died before it told one."""
        self.unit.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.unit.log, "ab") as log:
            with self._changing:
                if self.stopped:
                    return None, 0
                process = self._process = self._started(log)
            outcome: dict[str, Any] | None = None
            assert process.stdout is not None
            with process.stdout:
                for line in process.stdout:
                    told = _parsed(line)
                    if "outcome" in told:
                        outcome = told["outcome"]
                    elif "stage" in told:
                        heard(told["stage"], told["share"])
            code = process.wait()
            with self._changing, contextlib.suppress(OSError):
                if process.stdin is not None:
                    process.stdin.close()
            if outcome is None:
                log.write(f"The worker ended: {how_it_ended(code)}.\n".encode())
            return outcome, code

    def _started(self, log: Any) -> subprocess.Popen[bytes]:
        """A terminal's Ctrl-C is not for it (a session or group of its own): it is told by its input's end."""
        threads = str(self.work.threads)
        path = os.pathsep.join(filter(None, (str(_PACKAGE), os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            [sys.executable, *self.work.words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            env={**os.environ, **dict.fromkeys(_THREADS, threads), "PYTHONPATH": path}, start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )  # fmt: skip
        task = {"unit": self.unit.as_json(), "recipe": self.work.recipe.as_json()}
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it died at once: its end is told below
            process.stdin.write(json.dumps(task).encode() + b"\n")
            process.stdin.flush()
        return process


def how_it_ended(code: int) -> str:
    """A process' exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"{name}, as when the memory runs out" if -code == 9 else name
    return f"signal {-code}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _parsed(line: bytes) -> dict[str, Any]:
    """Nothing of a line that a killed worker left half-written."""
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
