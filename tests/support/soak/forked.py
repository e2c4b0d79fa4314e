# SPDX-License-Identifier: Apache-2.0
"""Runs the command line ``blendsplat`` again and again without its seconds of loading: a process that has loaded
everything forks for each run. What a run does is the command's own, from its arguments to its exit code.

    python -m soak.forked          reads a JSON line for each run, answers {"process": id}; {"wait": id} says its end
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

STALLED = 120.0  # seconds after which a run counts as hanging
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Ended:
    """How a run ended. code: its exit code, -9 when killed; writes: how often it touched its folder; text: what it
    said on both outputs."""

    code: int
    writes: int
    seconds: float
    text: str


class Forked:
    """The loaded process, from the side of who asks it for runs."""

    def __init__(self, folder: Path) -> None:
        import blendsplat

        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        paths = [Path(blendsplat.__file__).parent.parent, Path(__file__).parent.parent]
        self.environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1",
            "BLENDSPLAT_LOG_DIR": str(folder / "logs"),
        }  # fmt: skip
        with (folder / "forked.txt").open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "soak.forked"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                env=self.environment, text=True,
            )  # fmt: skip
        self._asked = 0
        self._answer()

    def start(self, words: list[str], *, watched: Path | None = None, die_at: int = 0, **more: Any) -> Run:
        """Begin ``blendsplat WORDS``. watched: a folder whose changes are counted; at the ``die_at``-th the run kills
        itself just before it (0: never). refuse_from, number: from such a change on the disk refuses each with this
        error; input, output: of the run, files."""
        self._asked += 1
        said = self.folder / f"said-{self._asked % 10}.txt"
        order = {"words": words, "watched": str(watched or ""), "die_at": die_at, "said": str(said), **more}
        process = self._ask(order)["process"]
        return Run(self, process, said)

    def run(self, words: list[str], *, after: float | None = None, **more: Any) -> Ended:
        """The same, to its end; with ``after`` killed so many seconds later."""
        run = self.start(words, **more)
        if after is not None:
            time.sleep(after)
            run.kill()
        return run.wait()

    def close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait(30)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the loaded process ended; see {self.folder / 'forked.txt'}")
        return json.loads(line)


@dataclass
class Run:
    """A run under way."""

    forked: Forked
    process: int
    said: Path

    def kill(self) -> None:
        """With SIGKILL; nothing where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)

    def wait(self) -> Ended:
        """Its end; one that hangs is killed after STALLED."""
        told = self.forked._ask({"wait": self.process})
        text = self.said.read_text(errors="replace") if self.said.exists() else ""
        return Ended(told["code"], told["writes"], told["seconds"], text)


def _child(order: dict[str, Any], counts: int) -> None:
    """Become the command. Never returns."""
    said = os.open(order["said"], os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    source = os.open(order.get("input") or os.devnull, os.O_RDONLY)
    os.dup2(source, 0)
    os.dup2(os.open(order["output"], os.O_WRONLY) if "output" in order else said, 1)
    os.dup2(said, 2)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in ((0, "r"), (1, "w"), (2, "w")))
    if order["watched"]:
        _watch(order["watched"], order["die_at"], order.get("refuse_from", 0), order.get("number", 0), counts)
    from blendsplat.cli import app

    code = 0
    try:
        app(order["words"], prog_name="blendsplat")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 70
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _watch(folder: str, die_at: int, refuse_from: int, number: int, counts: int) -> None:
    """Count every change that Python makes in ``folder``, just before it happens; die at the ``die_at``-th; have all
    from the ``refuse_from``-th on fail with the error ``number``."""
    seen = 0

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "open":
            changes = bool((arguments[2] or 0) & _WRITING) or any(letter in str(arguments[1]) for letter in "wax+")
        else:
            changes = event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.link")
        if not changes or not any(isinstance(a, str | os.PathLike) and folder in os.fspath(a) for a in arguments[:2]):
            return
        seen += 1
        os.pwrite(counts, seen.to_bytes(4, "little"), 0)
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if 0 < refuse_from <= seen:
            raise OSError(number, os.strerror(number), arguments[0])

    sys.addaudithook(hear)


def _load() -> None:
    import mediapipe

    import blendsplat.avatars.ply
    import blendsplat.cli
    import blendsplat.serving.server
    import blendsplat.systems
    import blendsplat.tracking
    import blendsplat.video.clip_import
    from blendsplat.heads.load import load_head
    from blendsplat.jobs.kinds import KINDS

    assert blendsplat.cli.app and mediapipe and KINDS
    load_head("human")


def main() -> None:
    _load()
    running: dict[int, tuple[float, int]] = {}
    _tell({"loaded": True})
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            begun, counts = running.pop(order["wait"])
            _tell(_ended(order["wait"], begun, counts))
            continue
        counts = os.memfd_create("writes")
        process = os.fork()
        if not process:
            _child(order, counts)
        running[process] = (time.monotonic(), counts)
        _tell({"process": process})


def _ended(process: int, begun: float, counts: int) -> dict[str, Any]:
    while True:
        gone, status = os.waitpid(process, os.WNOHANG)
        if gone:
            break
        if time.monotonic() - begun > STALLED:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.005)
    writes = int.from_bytes(os.pread(counts, 4, 0), "little")
    os.close(counts)
    return {"code": os.waitstatus_to_exitcode(status), "writes": writes, "seconds": time.monotonic() - begun}


def _tell(answer: dict[str, Any], to: IO[str] = sys.__stdout__) -> None:
    to.write(json.dumps(answer) + "\n")
    to.flush()


if __name__ == "__main__":
    main()
