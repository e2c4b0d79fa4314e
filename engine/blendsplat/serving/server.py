# SPDX-License-Identifier: Apache-2.0
"""The engine's process: reads requests, answers them, runs jobs, and ends when the other side does.

Threads: one reads (and answers what is quick, so pings and cancels never wait), one writes, one for each method that
takes longer (interactive.py) and one for each lane of jobs (queue.py). The main thread only waits for the end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import Field

from blendsplat.errors import InputError
from blendsplat.jobs.arrays import Arrays
from blendsplat.jobs.failures import describe_failure
from blendsplat.jobs.kinds import KINDS
from blendsplat.jobs.logs import start_log
from blendsplat.jobs.options import ABSOLUTE, NameOrPath, Options, validated
from blendsplat.progress import Frame
from blendsplat.serving import drive as driving
from blendsplat.serving import rendering
from blendsplat.serving.connection import Outbox, take_standard_streams
from blendsplat.serving.interactive import InteractiveLane
from blendsplat.serving.priority import Priority
from blendsplat.serving.protocol import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PROTOCOL_VERSION,
    FramingError,
    Message,
    MessageError,
    read_message,
)
from blendsplat.serving.queue import JobQueue
from blendsplat.serving.system import describe_engine

_log = logging.getLogger(__name__)

_Quick = Callable[[Any, Arrays], dict[str, Any]]
_Slow = Callable[[Any, Arrays], tuple[dict[str, Any], Arrays]]
EXIT_END, EXIT_PROTOCOL = 0, 65
CHECKPOINT_SECONDS = 30.0  # how long a cancelled job may take to keep what it has
_FLUSH_SECONDS = 2.0


class HelloRequest(Options):
    """Parameters of ``hello``."""

    protocol: int = Field(strict=True)
    client: str = ""


class StartRequest(Options):
    """Parameters of ``job.start``."""

    kind: str
    params: dict[str, Any] = Field(default_factory=dict)


class JobRequest(Options):
    """Parameters of ``job.cancel``."""

    job: str


class FrameRequest(Options):
    """Parameters of ``job.frame``; the attachments go to the job as they are."""

    job: str
    info: dict[str, Any] = Field(default_factory=dict)


class WeightsRequest(Options):
    """Parameters of ``weights.describe``."""

    weights: NameOrPath = Field("auto", min_length=1, description="auto (shipped), none, a folder or a known name")


class NoParameters(Options):
    """Of methods that take none."""


class Server:
    """One connection over two binary streams."""

    def __init__(self, source: BinaryIO, sink: BinaryIO, log_path: Path | None = None) -> None:
        self._source = source
        self._log_path = str(log_path) if log_path else None
        self._ended = threading.Event()
        self._exit_code = EXIT_END
        self._outbox = Outbox(sink, on_broken=lambda: self.end("the other side closed its end", EXIT_END))
        self._jobs = JobQueue(self._outbox, priority := Priority(), self._log_path)
        self._interactive = InteractiveLane(priority)
        self._quick: dict[str, tuple[type[Options], _Quick]] = {
            "ping": (NoParameters, lambda *_: {"time": time.time(), "jobs": self._jobs.active()}),
            "job.cancel": (JobRequest, lambda request, _: {"state": self._jobs.cancel(request.job)}),
            "job.frame": (FrameRequest, self._take_frame),
            "job.list": (NoParameters, lambda *_: {"jobs": self._jobs.listed()}),
        }
        self._slow: dict[str, tuple[type[Options], _Slow]] = {
            "hello": (HelloRequest, lambda request, _: (self._hello(request), {})),
            "avatar.describe": (rendering.PathRequest, lambda request, _: (rendering.describe_avatar(request), {})),
            "avatar.drive": (driving.DriveRequest, lambda request, arrays: ({}, driving.drive_avatar(request, arrays))),
            "camera.list": (NoParameters, lambda *_: (_list_cameras(), {})),
            "head.rig": (rendering.RigRequest, lambda request, _: rendering.head_rig(request)),
            "weights.describe": (WeightsRequest, lambda request, _: (_describe_weights(request), {})),
            "render.gaussians": (
                rendering.RenderRequest,
                lambda request, arrays: ({}, rendering.render_gaussians(request, arrays)),
            ),
        }

    def run(self) -> int:
        """Serve until the input ends, ``shutdown``, or ``end``; returns the exit code. Jobs have kept what they had."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        while not self._ended.wait(0.5):  # a time-out, because Windows delivers no signal to an endless wait
            pass
        if not self._jobs.close(CHECKPOINT_SECONDS):
            _log.warning("not every job stopped within %s seconds", CHECKPOINT_SECONDS)
        self._outbox.close(_FLUSH_SECONDS)
        return self._exit_code

    def end(self, why: str, code: int) -> None:
        """Ask ``run`` to return; safe from any thread and from signal handlers."""
        if not self._ended.is_set():
            _log.info("ending: %s", why)
            self._exit_code = code
            self._ended.set()

    # --- reading and answering

    def _read(self) -> None:
        try:
            while not self._ended.is_set():
                try:
                    message = read_message(self._source)
                except MessageError as error:
                    self._answer_error(error.request_id, error, error.rpc_code)
                    continue
                if message is None:
                    return self.end("the input ended", EXIT_END)
                self._handle(message)
        except FramingError as error:
            _log.error("%s", error)
            self._answer_error(None, error, INVALID_REQUEST)
            self.end("the protocol is broken", EXIT_PROTOCOL)
        except Exception as error:  # without its reader the engine has to end; say why
            _log.exception("the reader failed")
            self.end(repr(error), EXIT_PROTOCOL)

    def _handle(self, message: Message) -> None:
        """Answer one request or notification."""
        body = message.body
        identity, method, params = body.get("id"), body.get("method"), body.get("params", {})
        if not isinstance(method, str) or not isinstance(params, dict) or isinstance(identity, (bool, list, dict)):
            error = InputError("A request needs a method (text), parameters by name, and an id (number or text).")
            return self._answer_error(None, error, INVALID_REQUEST)
        try:
            if method == "job.start":
                self._start_job(identity, params)
            elif method == "shutdown":
                self._answer(identity, {})
                self.end("shutdown was asked for", EXIT_END)
            elif method in self._quick:
                model, act = self._quick[method]
                self._answer(identity, act(self._validated(model, params, method), message.arrays))
            elif method in self._slow:
                self._submit_slow(identity, method, params, message.arrays)
            else:
                sentence = f"This engine knows no method {method[:100]!r}; update it, or the add-on."
                raise MessageError(sentence, METHOD_NOT_FOUND)
        except MessageError as error:
            self._answer_error(identity, error, error.rpc_code)
        except Exception as error:
            self._answer_error(identity, error)

    @staticmethod
    def _validated(model: type[Options], params: dict[str, Any], method: str) -> Any:
        return validated(model, params, method, ABSOLUTE)

    def _start_job(self, identity: Any, params: dict[str, Any]) -> None:
        request = self._validated(StartRequest, params, "job.start")
        kind = KINDS.get(request.kind)
        if kind is None:
            raise InputError(f"There is no job kind {request.kind[:100]!r}; known are {', '.join(KINDS)}.")
        job = self._jobs.create(kind, self._validated(kind.options, request.params, f"The job {kind.name!r}"))
        self._answer(identity, {"job": job.id})  # before its first notification
        self._jobs.submit(job)

    def _hello(self, request: HelloRequest) -> dict[str, Any]:
        if request.protocol != PROTOCOL_VERSION:
            _log.warning("%s speaks protocol %s, we %s", request.client[:100], request.protocol, PROTOCOL_VERSION)
        return describe_engine(self._log_path)

    def _take_frame(self, request: FrameRequest, arrays: Arrays) -> dict[str, Any]:
        accepted, waiting = self._jobs.give_frame(request.job, Frame(request.info, arrays))
        return {"accepted": accepted, "waiting": waiting}

    def _submit_slow(self, identity: Any, method: str, params: dict[str, Any], arrays: Arrays) -> None:
        model, act = self._slow[method]
        request = self._validated(model, params, method)

        def work() -> None:
            try:
                self._answer(identity, *act(request, arrays))
            except Exception as error:
                self._answer_error(identity, error)

        self._interactive.submit(method, work)

    def _answer(self, identity: Any, result: dict[str, Any], arrays: Arrays | None = None) -> None:
        if identity is not None:
            self._outbox.post({"jsonrpc": "2.0", "id": identity, "result": result}, arrays)

    def _answer_error(self, identity: Any, error: Exception, rpc_code: int | None = None) -> None:
        """Also for messages whose id could not be read: the answer's id is then null."""
        failure = describe_failure(error, "answering a request", self._log_path)
        if not failure.expected:
            _log.error("%s\n%s", failure.sentence, failure.detail)
        described = failure.as_json()
        if rpc_code is not None:
            described["code"] = rpc_code
        elif isinstance(error, InputError):
            described["code"] = INVALID_PARAMS
        self._outbox.post({"jsonrpc": "2.0", "id": identity, "error": described})


def _describe_weights(request: WeightsRequest) -> dict[str, Any]:
    from blendsplat.kaolrm.describe_weights import describe_weights

    return describe_weights(request.weights)


def _list_cameras() -> dict[str, Any]:
    from blendsplat.live.cameras import list_cameras

    return {"cameras": list_cameras()}


def serve() -> None:
    """Serve on this process's standard streams; never returns, exits with 0 (ended) or 65 (the protocol broke)."""
    source, sink = take_standard_streams()
    log_path = start_log("engine", to_stderr=True)
    server = Server(source, sink, log_path)
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _: server.end(f"signal {number}", EXIT_END))
    _log.info("engine %s ready, python %s", os.getpid(), sys.version.split()[0])
    code = server.run()
    with contextlib.suppress(OSError, ValueError):
        logging.shutdown()
        sys.stderr.flush()
    # not sys.exit: a thread that waits for input or a library's clean-up must not keep a dead engine alive
    os._exit(code)
