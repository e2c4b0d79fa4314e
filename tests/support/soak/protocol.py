# SPDX-License-Identifier: Apache-2.0
"""Messages as nobody should send them, to the engine and to the add-on: both live on, say what is wrong in words, keep
their memory, and read and write nothing but what was named."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .addon_link import run_addon
from .file_kinds import ROOT
from .mutate_messages import Attacker, Paths, framed
from .sentences import fault_of
from .table import Row, Share

TARGET, BROKEN_TARGET = 10_000, 300
_BURST = 40  # messages until the engine is asked whether it lives, and its jobs are cancelled
_WARM = 1500  # messages after which its memory may grow no more: torch is loaded, every method was called
_GROWTH_MB = 80.0
_ANSWER_SECONDS = 60.0


class Engine:
    """``blendsplat serve`` in a home of its own, and everything that it says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("home", "working folder"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "engine"),
            "HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1",
            "BLENDSPLAT_LOG_DIR": str(folder / "logs"),
            "BLENDSPLAT_CACHE": str(folder / "cache"),
        }
        with (folder / "stderr.txt").open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "blendsplat", "serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                cwd=folder / "working folder",
            )
        self.said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        from blendsplat.serving.protocol import read_message

        with contextlib.suppress(Exception):  # whatever ends the stream, the end is told
            while (message := read_message(self.process.stdout)) is not None:  # type: ignore[arg-type]
                self.said.put(message.body)
        self.said.put(None)

    def write(self, data: bytes) -> None:
        """Raises OSError when the engine has closed its end."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def megabytes(self) -> float:
        """What it holds in memory; 0 where the system does not tell."""
        try:
            with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
                return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
        except (OSError, StopIteration):
            return 0.0

    def end(self) -> int | None:
        """Its exit code after the end of its input; None: it had to be killed."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        try:
            return self.process.wait(60.0)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.process.kill()


class _Siege:
    """The messages of one engine, what it answered, and what is wrong with that."""

    def __init__(self, engine: Engine, attacker: Attacker, row: Row, seed: int) -> None:
        self.engine, self.attacker, self.row, self.seed = engine, attacker, row, seed
        self._asked: dict[Any, bytes] = {}  # answers that must come
        self._jobs: dict[str, bytes] = {}  # job -> the message that started it
        self._pings = 0

    def burst(self, count: int) -> None:
        """Send so many and ask whether the engine lives. Raises OSError, TimeoutError where it does not."""
        for _ in range(count):
            sent = self.attacker.draw()
            if sent.identity is not None:
                self._asked[sent.identity] = sent.data
            self.engine.write(sent.data)
            self._hear(0.0)
        self.row.tried, self.row.survived = self.row.tried + count, self.row.survived + count
        active = self._ping()
        for job in active:
            self.engine.write(
                framed({"jsonrpc": "2.0", "id": f"cancel {job}", "method": "job.cancel", "params": {"job": job}})
            )
        self._ping(until=lambda: not self._asked)
        self.attacker.jobs = [*list(self._jobs)[-5:], "job-1", "job-99999"]

    def _ping(self, until: Any = lambda: True) -> list[str]:
        """The jobs that wait or run, once ``until`` holds."""
        ends = time.monotonic() + _ANSWER_SECONDS
        self._pings += 1
        identity = f"ping {self._pings}"
        self.engine.write(framed({"jsonrpc": "2.0", "id": identity, "method": "ping"}))
        jobs: list[str] | None = None
        while jobs is None or not until():
            answer = self._hear(1.0)
            if answer is not None and answer.get("id") == identity:
                jobs = answer["result"]["jobs"]
            if time.monotonic() > ends:
                if jobs is None:
                    raise TimeoutError("a ping was not answered")
                for data in self._asked.values():
                    self._wrong("not answered", data)
                self._asked.clear()
        return jobs

    def _hear(self, wait: float) -> dict[str, Any] | None:
        try:
            body = self.engine.said.get(timeout=wait) if wait else self.engine.said.get_nowait()
        except queue.Empty:
            return None
        if body is None:
            raise OSError("the engine ended")
        params = body.get("params") if isinstance(body.get("params"), dict) else {}
        data = self._asked.pop(body.get("id"), b"") if "id" in body and isinstance(body["id"], (str, int)) else b""
        result = body.get("result")
        if isinstance(result, dict) and isinstance(result.get("job"), str):
            self._jobs[result["job"]] = data
        if body.get("method") == "job.finished":
            data = self._jobs.get(params["job"], b"")
        error = body.get("error") or params.get("error")
        if error and params.get("state") != "cancelled":
            wrong = fault_of(error["message"])
            if error["data"]["code"] == "internal":
                wrong = error["message"]
            if wrong:
                self._wrong(wrong, data)
        return body

    def _wrong(self, what: str, data: bytes) -> None:
        self.row.survived -= 1
        self.row.failures.append(f"seed {self.seed}: {what}, of {data[12:400]!r}")


def run(share: Share) -> Iterator[Row]:
    yield from _besieged(share)
    yield _broken(share)
    yield from run_addon(share, TARGET)


def _besieged(share: Share) -> Iterator[Row]:
    row, memory = Row("protocol", "messages to the engine"), Row("protocol", "memory and files afterwards")
    named, out = share.folder / "named", share.folder / "out"
    _named_files(named)
    out.mkdir(exist_ok=True)
    engine = Engine(share.folder)
    before, warm = _elsewhere(share.folder), 0.0
    siege = _Siege(engine, Attacker(share.random, Paths(named), out), row, share.seed)
    half = 0.55 * share.seconds
    try:
        while share.wants(row.tried, TARGET) and share.left() > share.seconds - half:
            siege.burst(_BURST)
            if not warm and row.tried >= _WARM:
                warm = engine.megabytes()
    except (OSError, TimeoutError, ValueError) as error:
        row.bad(f"seed {share.seed}, after {row.tried} messages: {error}; see {share.folder / 'stderr.txt'}")
    last = engine.megabytes()
    code = engine.end()
    yield row
    memory.peak_mb = last
    memory.note = f"{warm:.0f} MB after {_WARM} messages, {last:.0f} MB at the end" if warm else ""
    changed = _elsewhere(share.folder) ^ before
    for wrong in (
        f"its exit code was {code}" if code != 0 else "",
        f"it grew from {warm:.0f} to {last:.0f} MB" if warm and last - warm > _GROWTH_MB else "",
        f"files changed elsewhere: {sorted(changed)[:5]}" if changed else "",
    ):
        if wrong:
            memory.bad(f"seed {share.seed}: {wrong}")
        else:
            memory.good()
    yield memory


def _broken(share: Share) -> Row:
    """Streams that cannot be followed: the engine ends by itself, with 0 or 65, whatever was half sent."""
    from engine_client import LocalServer

    row = Row("protocol", "broken streams to the engine")
    logging.disable(logging.ERROR)  # each of them is an error in the engine's log
    named = share.folder / "named"
    attacker = Attacker(share.random, Paths(named), share.folder / "out")
    while share.wants(row.tried, BROKEN_TARGET) and share.left() > 0.35 * share.seconds:
        server = LocalServer()
        threading.Thread(target=_drain, args=(server.source,), daemon=True).start()
        with contextlib.suppress(OSError):
            if share.random.random() < 0.5:
                server.write(framed({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
            server.write(attacker.broken())
        code = server.close()
        if code in (0, 65):
            row.good()
        else:
            row.bad(f"seed {share.seed}, number {row.tried}: it ended with {code}")
    logging.disable(logging.NOTSET)
    return row


def _drain(source: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        while source.read(65536):
            pass


def _named_files(folder: Path) -> None:
    """What a user may have named: an avatar, a clip, texts, a pipe."""
    from tiny_clip import tiny_avatar, tiny_head, write_tiny_clip

    folder.mkdir(parents=True, exist_ok=True)
    tiny_avatar(tiny_head(), blendshapes=2).save(folder / "a.avatar.npz")
    write_tiny_clip(folder / "clip", frames=3)
    (folder / "notes.txt").write_text("mine")
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "own.toml").write_text("images = 1")
    if not (folder / "pipe").exists():
        os.mkfifo(folder / "pipe")


def _elsewhere(folder: Path) -> set[tuple[str, int]]:
    """(name, size) of every file in the part's folder but what was named, the logs and the cache."""
    left_out = ("named", "out", "logs", "cache", "stderr.txt", "add-on")
    return {
        (str(path.relative_to(folder)), path.lstat().st_size if path.is_file() else 0)
        for top in folder.iterdir()
        if top.name not in left_out
        for path in (top, *top.rglob("*"))
    }
