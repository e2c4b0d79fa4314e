# SPDX-License-Identifier: Apache-2.0
"""A small client for tests: a real engine process, or a Server in this process, spoken to over pipes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

import blendsplat
from blendsplat.serving.protocol import Message, encode_message, read_message
from blendsplat.serving.server import Server

WATCHDOG_SECONDS = 300.0  # a test that waits for a message that never comes ends with an error


def engine_environment(folder: Path) -> dict[str, str]:
    """Environment in which this very package is imported, logs go to ``folder`` and threads are few."""
    package = str(Path(blendsplat.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": package, "BLENDSPLAT_LOG_DIR": str(folder), "OMP_NUM_THREADS": "2"}


class Client:
    """Requests and what came back; ``seen`` keeps every notification."""

    def __init__(self, source: Any, sink: Any) -> None:
        self.source, self.sink = source, sink
        self.seen: list[Message] = []
        self.answers: dict[Any, Message] = {}
        self._ids = itertools.count(1)

    def write(self, data: bytes) -> None:
        self.sink.write(data)
        self.sink.flush()

    def send(self, method: str, arrays: dict[str, np.ndarray] | None = None, **params: Any) -> int:
        identity = next(self._ids)
        body = {"jsonrpc": "2.0", "id": identity, "method": method, "params": params}
        self.write(b"".join(bytes(chunk) for chunk in encode_message(body, arrays)))
        return identity

    def step(self) -> Message:
        message = read_message(self.source)
        assert message is not None, "the engine ended"
        if "method" in message.body:
            self.seen.append(message)
        else:
            self.answers[message.body["id"]] = message
        return message

    def answer(self, identity: Any) -> Message:
        while identity not in self.answers:
            self.step()
        return self.answers.pop(identity)

    def call(self, method: str, arrays: dict[str, np.ndarray] | None = None, **params: Any) -> dict[str, Any]:
        body = self.answer(self.send(method, arrays, **params)).body
        assert "error" not in body, body["error"]
        return body["result"]

    def error(self, method: str, arrays: dict[str, np.ndarray] | None = None, **params: Any) -> dict[str, Any]:
        return self.answer(self.send(method, arrays, **params)).body["error"]

    def start(self, kind: str, **params: Any) -> str:
        return self.call("job.start", kind=kind, params=params)["job"]

    def finished(self, job: str) -> dict[str, Any]:
        while True:
            for message in self.seen:
                if message.body["method"] == "job.finished" and message.body["params"]["job"] == job:
                    return message.body["params"]
            self.step()

    def notes(self, method: str, job: str) -> list[Message]:
        return [m for m in self.seen if m.body["method"] == method and m.body["params"]["job"] == job]


class EngineProcess(Client):
    """``python -m blendsplat serve``."""

    def __init__(self, folder: Path) -> None:
        self.stderr_path = folder / "stderr.txt"
        with self.stderr_path.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "blendsplat", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=stderr, env=engine_environment(folder),
            )  # fmt: skip
        super().__init__(self.process.stdout, self.process.stdin)
        self._watchdog = threading.Timer(WATCHDOG_SECONDS, self.process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    def close(self) -> int:
        """End of file on its input; its exit code."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        code = self.process.wait(60)
        self.process.stdout.close()
        self._watchdog.cancel()
        return code


class LocalServer(Client):
    """A Server in a thread of this process, so that tests can put fake jobs into it."""

    def __init__(self) -> None:
        (to_server, from_client), (to_client, from_server) = os.pipe(), os.pipe()
        self.server = Server(os.fdopen(to_server, "rb", 0), os.fdopen(from_server, "wb", 0))
        super().__init__(os.fdopen(to_client, "rb", 0), os.fdopen(from_client, "wb", 0))
        self.exit_code: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.exit_code = self.server.run()

    def close(self) -> int | None:
        if not self.sink.closed:
            self.sink.close()
        self._thread.join(60)
        return self.exit_code
