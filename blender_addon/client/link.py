# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the engine process and speaks the protocol with it over its pipes; knows nothing of bpy.

Two threads do the blocking reads and writes, so no call here can hang Blender: every wait has an end, a process that
dies or falls silent becomes one sentence, and starting it again backs off when it keeps failing.

Blender 4.3 leaves SIGPIPE to its default action: a write to an engine that has died would end Blender. So only the
writing thread touches the engine's input, it blocks that signal, and nothing is buffered that another thread might
flush, even while a pipe is thrown away.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..formats import plain_sentence
from . import wire
from .exit_words import exit_sentence, last_line, tail
from .inbox import Inbox
from .pythons import plain_environment

CLIENT = "blender-addon"
HELLO_SECONDS = 120.0  # importing torch from a cold disk takes its time
HEARTBEAT_SECONDS = 5.0
SILENCE_SECONDS = 60.0
_BACK_OFF = (0.0, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
_END = object()
_F_SETNOSIGPIPE = 73  # of macOS's fcntl.h; Python's fcntl has no name for it


class LinkError(Exception):
    """The engine cannot be reached, or died; the text is one sentence for the user."""


class EngineError(Exception):
    """The engine answered with an error: a sentence, our code, and detail for the log."""

    def __init__(self, sentence: str, code: str = "error", detail: str = "") -> None:
        super().__init__(sentence)
        self.sentence, self.code, self.detail = sentence, code, detail


class Pending:
    """An answer that is on its way."""

    def __init__(self, method: str) -> None:
        self.method = method
        self._done = threading.Event()
        self._message: wire.Message | None = None
        self._error: Exception | None = None
        self._asked = self._answered = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the answer took, until it was here."""
        return self._answered - self._asked

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def resolve(self, message: wire.Message | None = None, error: Exception | None = None) -> None:
        """Called once, by the link's threads."""
        self._message, self._error, self._answered = message, error, time.monotonic()
        self._done.set()

    def result(self) -> tuple[Any, dict[str, np.ndarray]]:
        """(result, arrays) of a finished request. Raises LinkError or EngineError."""
        if self._error is not None:
            raise self._error
        assert self._message is not None
        return self._message.body.get("result"), self._message.arrays

    def wait(self, timeout: float, stop: Callable[[], bool] = lambda: False) -> tuple[Any, dict[str, np.ndarray]]:
        """Wait at most ``timeout`` seconds; ``stop`` is asked 20 times a second and ends the wait.

        Raises LinkError (also for a time-out or a stop), EngineError.
        """
        deadline = time.monotonic() + timeout
        while not self._done.wait(0.05):
            if stop():
                raise LinkError("Stopped.")
            if time.monotonic() > deadline:
                raise LinkError(f"The engine did not answer within {timeout:.0f} seconds ({self.method}).")
        return self.result()


class Link:
    """One engine process at a time. States: off, starting, ready, failed (with ``sentence``)."""

    def __init__(self) -> None:
        self.state = "off"
        self.sentence = ""
        self.hello: dict[str, Any] = {}
        self.notifications = Inbox()
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._outbox: queue.Queue[Any] = queue.Queue()
        self._pending: dict[int, Pending] = {}
        self._ids = itertools.count(1)
        self._failures = 0
        self._failed_at = 0.0
        self._last_heard = 0.0
        self._last_ping = 0.0
        self._closing = False
        self.log_path: Path | None = None  # of the process that runs, or ran last

    # --- starting and ending

    def start(self, command: list[str], log_path: Path, *, patient: bool = True) -> None:
        """Start ``command`` unless it runs already; returns at once, ``state`` tells how it goes.

        patient: wait out the back-off after failures (raises LinkError meanwhile); a button press passes False.
        """
        with self._lock:
            if self.state in ("starting", "ready"):
                return
            if not command:
                raise LinkError("No engine yet: install it, or point at one, in the Engine panel.")
            pause = _BACK_OFF[min(self._failures, len(_BACK_OFF) - 1)] if patient else 0.0
            left = self._failed_at + pause - time.monotonic()
            if left > 0:
                raise LinkError(f"{self.sentence} Next attempt in {left:.0f} s; Check Engine tries at once.")
            self._spawn(command, log_path)

    def _spawn(self, command: list[str], log_path: Path) -> None:
        self.state, self.sentence, self.hello, self._closing = "starting", "", {}, False
        self.log_path = log_path
        try:
            log_path.parent.mkdir(parents=True, exist_ok=True)
            log = open(log_path, "ab")  # noqa: SIM115 never emptied under a process that still writes: that leaves NULs
        except OSError as error:
            self._fail(f"The engine's log {log_path} cannot be written: {error.strerror or error}.")
            raise LinkError(self.sentence) from error
        try:
            with log:
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0,
                    env=plain_environment(without_path=False), **_no_window(),
                )  # fmt: skip
        except OSError as error:
            self._fail(f"The engine command {command[0]!r} cannot be started: {error.strerror or error}.")
            raise LinkError(self.sentence) from error
        self._process = process
        self._outbox, self.notifications = queue.Queue(), Inbox()  # what an older process said is not for this one
        self._last_heard = self._last_ping = time.monotonic()
        for target in (self._read_loop, self._write_loop):
            threading.Thread(
                target=target, args=(process, self._outbox, self.notifications), name="blendsplat-link", daemon=True
            ).start()
        hello = self._post("hello", {"protocol": wire.PROTOCOL_VERSION, "client": CLIENT}, {})
        threading.Thread(target=self._greet, args=(process, hello), name="blendsplat-hello", daemon=True).start()

    def _greet(self, process: subprocess.Popen[bytes], hello: Pending) -> None:
        try:
            result, _ = hello.wait(HELLO_SECONDS)
            theirs = result.get("protocol") if isinstance(result, dict) else None
            if theirs != wire.PROTOCOL_VERSION:
                newer = isinstance(theirs, int) and theirs > wire.PROTOCOL_VERSION
                raise LinkError(
                    f"The engine speaks protocol {theirs} and this add-on {wire.PROTOCOL_VERSION}: "
                    + ("update the add-on." if newer else "install the engine again.")
                )
        except (LinkError, EngineError) as error:
            # Of a command that is silent, the log may know what it waits for: ssh's question, another host.
            said = last_line(tail(self.log_path)) if not hello.done else ""
            self._give_up(process, f"{error} It said last: {said}" if said else str(error))
            return
        with self._lock:
            if process is self._process and self.state == "starting":
                self.hello, self.state, self._failures = result, "ready", 0

    def wait_ready(self, timeout: float = HELLO_SECONDS, stop: Callable[[], bool] = lambda: False) -> None:
        """Block until the engine has said hello. Raises LinkError."""
        deadline = time.monotonic() + timeout
        while self.state == "starting" and time.monotonic() < deadline and not stop():
            time.sleep(0.02)
        if self.state != "ready":
            raise LinkError(self.sentence or "The engine is not running.")

    def stop(self, timeout: float = 3.0) -> None:
        """Ask the engine to end by closing its input (it keeps its checkpoints), then insist."""
        with self._lock:
            process, self._process, self._closing = self._process, None, True
            self.state, self.sentence, self.hello = "off", "", {}
            self._outbox.put(_END)
        self._drop_pending("The engine was stopped.")
        if process is not None:
            _end_process(process, timeout)

    # --- talking

    def request(
        self, method: str, params: dict[str, Any] | None = None, arrays: dict[str, np.ndarray] | None = None
    ) -> Pending:
        """Send a request to a ready engine. Raises LinkError."""
        if self.state != "ready":
            raise LinkError(self.sentence or "The engine is not running.")
        return self._post(method, params or {}, arrays or {})

    def _post(self, method: str, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> Pending:
        pending = Pending(method)
        identity = next(self._ids)
        try:
            chunks = wire.encode({"jsonrpc": "2.0", "id": identity, "method": method, "params": params}, arrays)
        except (wire.WireError, ValueError, KeyError) as error:
            raise LinkError(f"{method} cannot be sent: {error}") from error
        with self._lock:
            self._pending[identity] = pending
        self._outbox.put(chunks)
        return pending

    def beat(self) -> None:
        """Called now and then: sends the heartbeat and notices an engine that has fallen silent."""
        process, now = self._process, time.monotonic()
        if self.state != "ready" or process is None:
            return
        if now - self._last_ping > HEARTBEAT_SECONDS:
            # Blender itself may have been asleep or busy: silence counts from the first ping after that.
            if now - self._last_ping > 4 * HEARTBEAT_SECONDS:
                self._last_heard = now
            self._last_ping = now
            with contextlib.suppress(LinkError):
                self.request("ping")
        if now - self._last_heard > SILENCE_SECONDS:
            self._give_up(process, f"The engine has not answered for {SILENCE_SECONDS:.0f} seconds and was ended.")

    @property
    def silence(self) -> float:
        """Seconds for which a running engine has said nothing although it was asked; 0 as long as that is usual."""
        seconds = time.monotonic() - self._last_heard
        return seconds if self.state == "ready" and seconds > 3 * HEARTBEAT_SECONDS else 0.0

    # --- threads

    def _read_loop(
        self, process: subprocess.Popen[bytes], outbox: queue.Queue[Any], inbox: queue.Queue[wire.Message]
    ) -> None:
        sentence = ""
        stdout = io.BufferedReader(process.stdout)  # type: ignore[arg-type]
        try:
            while (message := wire.decode(stdout.read)) is not None:
                self._last_heard = time.monotonic()
                self._dispatch(message, inbox)
        except (wire.WireError, OSError, ValueError) as error:
            sentence = str(error) if isinstance(error, wire.WireError) else ""
        outbox.put(_END)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2.0)
        if process.poll() is not None and (process.returncode != 0 or not sentence):
            sentence = exit_sentence(process.returncode, tail(self.log_path))
        self._give_up(process, sentence)

    def _write_loop(
        self, process: subprocess.Popen[bytes], outbox: queue.Queue[Any], _inbox: queue.Queue[wire.Message]
    ) -> None:
        stdin = process.stdin
        assert stdin is not None
        _block_sigpipe(stdin.fileno())
        with contextlib.suppress(OSError, ValueError):  # the reader notices the end and says why
            while (chunks := outbox.get()) is not _END:
                for chunk in chunks:
                    _write_all(stdin, chunk)
        with contextlib.suppress(OSError, ValueError):
            stdin.close()

    def _dispatch(self, message: wire.Message, inbox: queue.Queue[wire.Message]) -> None:
        body = message.body
        if "method" in body:
            if isinstance(body["method"], str) and isinstance(body.setdefault("params", {}), dict):
                inbox.put(message)
            return  # another one means nothing to anybody here
        identity = body.get("id")
        if type(identity) is not int:
            return
        with self._lock:
            pending = self._pending.pop(identity, None)
        if pending is None:
            return
        error = body.get("error")
        if error is None:
            pending.resolve(message)
        else:
            pending.resolve(error=_engine_error(error))

    def _give_up(self, process: subprocess.Popen[bytes], sentence: str) -> None:
        with self._lock:
            if process is not self._process:
                return  # an older process, or one that was stopped on purpose
            self._process = None
            self._outbox.put(_END)
            self._fail(sentence)
        self._drop_pending(self.sentence)
        _end_process(process, 1.0)

    def _fail(self, sentence: str) -> None:
        self.state, self.sentence, self.hello = "failed", sentence, {}
        self._failures += 1
        self._failed_at = time.monotonic()

    def _drop_pending(self, sentence: str) -> None:
        with self._lock:
            waiting, self._pending = list(self._pending.values()), {}
        for pending in waiting:
            pending.resolve(error=LinkError(sentence))


def _engine_error(told: Any) -> EngineError:
    """An error of the engine's as it can be shown, whatever it holds."""
    told = told if isinstance(told, dict) else {}
    data = told.get("data") if isinstance(told.get("data"), dict) else {}
    said = told.get("message")
    sentence = plain_sentence(said).strip() if isinstance(said, str) else ""
    return EngineError(
        sentence or "The engine failed without saying why; its log may tell.", str(data.get("code", "error")),
        str(data.get("detail", "")),
    )  # fmt: skip


def _block_sigpipe(descriptor: int) -> None:
    """Make writes of the calling thread to a pipe whose reader has died an OSError, whatever SIGPIPE does here."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])
    if sys.platform == "darwin":  # there the signal goes to the whole process, unless the pipe is told otherwise
        import fcntl

        fcntl.fcntl(descriptor, _F_SETNOSIGPIPE, 1)


def _write_all(pipe: IO[bytes], chunk: bytes) -> None:
    """Write a chunk to an unbuffered pipe, which may take it in pieces. Raises OSError when its reader has died."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[pipe.write(rest) :]


def _no_window() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}  # Ctrl-C in Blender's terminal is not for the engine


def _end_process(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Wait for a process whose input was closed; then end it, in a thread of its own so that nobody waits."""

    def insist() -> None:
        for act in (lambda: None, process.terminate, process.kill):
            with contextlib.suppress(OSError):
                act()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout)
                break
        # stdout is left to the reader thread: closing it under a blocked read waits for the read

    threading.Thread(target=insist, name="blendsplat-end", daemon=True).start()
