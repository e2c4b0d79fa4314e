# SPDX-License-Identifier: Apache-2.0
"""The process that makes one clip's avatar: ``python -m blendsplat.batch.worker``, started by child.py.

Standard input: a line of JSON {unit, recipe}, and then nothing until its end, which says stop: whoever started
it wants that, or is gone. Standard output: a line of JSON for progress, the last one for the outcome. Standard error,
and all that libraries print, is the clip's log.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from blendsplat.batch.clips import Unit
from blendsplat.batch.make import Outcome, State, make_avatar, outcome_of
from blendsplat.batch.recipe import Recipe
from blendsplat.batch.record import Record, next_stage
from blendsplat.errors import BlendsplatError, Cancelled
from blendsplat.jobs.failures import describe_failure
from blendsplat.progress import Progress
from blendsplat.serving.connection import take_standard_streams

_PATIENCE = 60.0  # seconds for a worker whose batch is gone to keep its checkpoint and leave
_TELL_SECONDS = 0.5


class LineProgress(Progress):
    """Tells stage and share now and then, as a line; who does not listen any more is not told."""

    def __init__(self, sink: BinaryIO) -> None:
        super().__init__()
        self._sink, self._told, self._stage = sink, 0.0, ""

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        now = time.monotonic()
        if stage != self._stage or (message and done in (0, total)):
            logging.getLogger(__name__).info("%s: %g of %g %s", stage, done, total, message)
        if stage == self._stage and now - self._told < _TELL_SECONDS:
            return
        self._stage, self._told = stage, now
        self.tell({"stage": stage, "share": round(done / total, 3) if total > 0 else 0.0})

    def tell(self, line: dict[str, object]) -> None:
        with contextlib.suppress(OSError):
            self._sink.write(json.dumps(line).encode() + b"\n")


def main() -> None:
    """Entry point of the process."""
    source, sink = take_standard_streams()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    task = json.loads(_first_line(source))
    progress = LineProgress(sink)
    threading.Thread(target=_stop_at_end, args=(source, progress), daemon=True).start()
    unit, recipe = Unit.from_json(task["unit"]), Recipe(**task["recipe"])
    progress.tell({"outcome": attempt(unit, recipe, progress).as_json()})
    sys.stderr.flush()
    os._exit(0)  # threads of native libraries have kept interpreters from ending


def attempt(unit: Unit, recipe: Recipe, progress: Progress) -> Outcome:
    """Make the avatar, and whatever happens tell it as the table's row; all but the death of the process."""
    log = logging.getLogger(__name__)
    log.info("%s begins on %s, process %d", unit.source, socket.gethostname(), os.getpid())
    try:
        with alone(unit.lock, progress):
            finished = unit.source.exists() and next_stage(unit, recipe, Record(unit.record)) is None
            if not finished:
                make_avatar(unit, recipe, progress)
        outcome = outcome_of(unit, "kept" if finished else "made")
    except Exception as error:
        failure = describe_failure(error, "making the avatar", str(unit.log))
        level = logging.INFO if failure.expected else logging.ERROR
        log.log(level, "%s\n%s", failure.sentence, failure.detail)
        state: State = "cancelled" if failure.code == Cancelled.code else "failed"
        outcome = outcome_of(unit, state, problem=failure.sentence, code=failure.code, exit_code=failure.exit_code)
    outcome.machine = socket.gethostname()
    log.info("%s: %s %s", unit.name, outcome.state, outcome.problem)
    return outcome


@contextlib.contextmanager
def alone(path: Path, progress: Progress, patience: float = _PATIENCE) -> Iterator[None]:
    """Nobody else makes this clip's avatar meanwhile. The system takes the lock from the dead. Raises BlendsplatError
    when another holds it for longer than ``patience`` seconds, Cancelled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        end = time.monotonic() + patience
        while not _locked(file.fileno()):
            progress.check()
            if time.monotonic() > end:
                file.seek(0)
                raise BlendsplatError(
                    f"Another batch is making this avatar ({file.read().strip() or 'its process is not known'}); wait "
                    "until it is done, and start this one again."
                )
            time.sleep(0.2)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _locked(descriptor: int) -> bool:
    """Take the lock of an open file, which closing it gives back: whether nobody else has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 2**30, os.SEEK_SET)  # far behind what others read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _first_line(source: BinaryIO) -> bytes:
    """Byte by byte, because what follows is another's to read."""
    line = b""
    while (byte := source.read(1)) not in (b"\n", b""):
        line += byte
    return line


def _stop_at_end(source: BinaryIO, progress: Progress) -> None:
    while source.read(4096):
        pass
    progress.cancelled = True


if __name__ == "__main__":
    main()
