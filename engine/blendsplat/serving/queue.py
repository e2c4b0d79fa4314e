# SPDX-License-Identifier: Apache-2.0
"""Long work of the server: one job runs at a time in a worker thread, others wait in line; each can be cancelled.

A job's Progress becomes rate-limited notifications, so a loop may report every step without flooding the pipe.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import BaseModel

from blendsplat.errors import Cancelled, InputError
from blendsplat.jobs.failures import describe_failure
from blendsplat.jobs.kinds import JobKind
from blendsplat.progress import Progress

Notify = Callable[..., None]  # notify(method, params, arrays=None, droppable=False)
_log = logging.getLogger(__name__)
_PROGRESS_SECONDS = 0.1
_PREVIEW_SECONDS = 1.0
_REMEMBERED = 50


class EtaClock:
    """Seconds left of a stage, from the rate since the stage began."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: str | None = None
        self._start = (0.0, 0.0)

    def estimate(self, stage: str, done: float, total: float) -> float | None:
        """None until something is known."""
        now = self._clock()
        if stage != self._stage or done < self._start[1]:
            self._stage, self._start = stage, (now, done)
            return None
        elapsed, finished = now - self._start[0], done - self._start[1]
        return elapsed / finished * max(total - done, 0.0) if finished > 0 and elapsed > 0 else None


@dataclass
class Job:
    """One piece of long work and where it stands. States: queued, running, cancelling, done, failed, cancelled."""

    id: str
    kind: JobKind
    params: BaseModel
    state: str = "queued"
    stage: str = ""
    done: float = 0.0
    total: float = 0.0
    message: str = ""
    progress: Progress = field(default_factory=Progress)

    def as_json(self) -> dict[str, Any]:
        """As listed by ``job.list``."""
        return {
            "job": self.id, "kind": self.kind.name, "state": self.state, "stage": self.stage, "done": self.done,
            "total": self.total, "message": self.message,
        }  # fmt: skip


class JobProgress(Progress):
    """Sends ``job.progress`` (10 a second; a new stage and a stage's end always) and ``job.preview`` (1 a second)."""

    def __init__(self, job: Job, notify: Notify) -> None:
        super().__init__()
        self._job = job
        self._notify = notify
        self._sent = (-math.inf, "", False)  # when, stage, was it complete
        self._previewed = -math.inf
        self._eta = EtaClock()

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        done, total = _finite(done) or 0.0, _finite(total) or 0.0
        self._job.stage, self._job.done, self._job.total, self._job.message = stage, done, total, message
        measured = self._eta.estimate(stage, done, total)
        eta = figures.pop("eta_s", measured)  # work that knows better says so
        now, complete = time.monotonic(), total > 0 and done >= total
        if now - self._sent[0] < _PROGRESS_SECONDS and (stage, complete) == self._sent[1:]:
            return
        self._sent = (now, stage, complete)
        params = {
            "job": self._job.id, "kind": self._job.kind.name, "stage": stage, "done": done, "total": total,
            "message": message, "eta_s": _finite(eta),
            "figures": {name: _finite(value) for name, value in figures.items()},
        }  # fmt: skip
        self._notify("job.progress", params, droppable=True)

    def preview(self, image: np.ndarray) -> None:
        now = time.monotonic()
        if now - self._previewed < _PREVIEW_SECONDS:
            return
        self._previewed = now
        copy = np.array(image, dtype=np.uint8, order="C")  # the caller may paint on; the outbox writes later
        self._notify("job.preview", {"job": self._job.id}, {"image": copy}, droppable=True)


def _finite(value: float | None) -> float | None:
    """JSON knows neither NaN nor infinity."""
    if value is None:
        return None
    value = float(value)
    return value if math.isfinite(value) else None


class JobQueue:
    """Starts, cancels and lists jobs. ``notify`` is called from the worker thread."""

    def __init__(self, notify: Notify, log_path: str | None = None) -> None:
        self._notify = notify
        self._log_path = log_path
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._line: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ids = itertools.count(1)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def create(self, kind: JobKind, params: BaseModel) -> Job:
        """A job that waits until ``submit`` (so that its id can be answered before its first notification)."""
        with self._lock:
            if self._closed:
                raise InputError("The engine is shutting down and takes no new job; start it again.")
            job = Job(f"job-{next(self._ids)}", kind, params)
            job.progress = JobProgress(job, self._notify)
            self._jobs[job.id] = job
            finished = [j.id for j in self._jobs.values() if j.state in ("done", "failed", "cancelled")]
            for old in finished[: max(0, len(self._jobs) - _REMEMBERED)]:
                del self._jobs[old]
        return job

    def submit(self, job: Job) -> None:
        """Put a created job in line."""
        self._line.put(job)

    def cancel(self, job_id: str) -> str:
        """Ask a job to stop; returns its state. A waiting job is cancelled at once, a running one at its next check."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                raise InputError(f"There is no job {job_id!r}.")
            job.progress.cancelled = True
            if job.state == "running":
                job.state = "cancelling"
            if job.state != "queued":
                return job.state
            job.state = "cancelled"
        self._finish(job, "cancelled", None, describe_failure(Cancelled(), "waiting").as_json())
        return "cancelled"

    def listed(self) -> list[dict[str, Any]]:
        """Every job still remembered, oldest first."""
        with self._lock:
            return [job.as_json() for job in self._jobs.values()]

    def active(self) -> list[str]:
        """Ids of jobs that wait or run."""
        with self._lock:
            return [job.id for job in self._jobs.values() if job.state in ("queued", "running", "cancelling")]

    def close(self, timeout: float) -> bool:
        """Cancel everything, wait for the running job to keep what it has. False if it did not stop in time."""
        with self._lock:
            self._closed = True
        for job_id in self.active():
            with contextlib.suppress(InputError):
                self.cancel(job_id)
        self._line.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._line.get()) is not None:
            with self._lock:
                if job.state != "queued":
                    continue
                job.state = "running"
            self._run_one(job)

    def _run_one(self, job: Job) -> None:
        _log.info("%s starts: %s %s", job.id, job.kind.name, job.params)
        try:
            result = job.kind.run(job.params, job.progress)
        except Cancelled as error:
            self._finish(job, "cancelled", None, describe_failure(error, job.kind.doing).as_json())
        except BaseException as error:  # SystemExit too: a library must not end the worker
            failure = describe_failure(error, job.kind.doing, self._log_path)
            level = logging.WARNING if failure.expected else logging.ERROR
            _log.log(level, "%s failed: %s\n%s", job.id, failure.sentence, failure.detail)
            self._finish(job, "failed", None, failure.as_json())
        else:
            self._finish(job, "done", result, None)

    def _finish(self, job: Job, state: str, result: Any, error: dict[str, Any] | None) -> None:
        with self._lock:
            job.state = state
        _log.info("%s is %s", job.id, state)
        params = {"job": job.id, "kind": job.kind.name, "state": state, "result": result, "error": error}
        try:
            self._notify("job.finished", params)
        except (TypeError, ValueError) as error:  # a result that JSON cannot carry
            failure = describe_failure(error, "sending the result", self._log_path)
            self._notify("job.finished", {**params, "result": None, "error": failure.as_json(), "state": "failed"})
