# SPDX-License-Identifier: Apache-2.0
"""The server's jobs in their lanes: each lane is a thread that runs one job after the other; lanes run side by side.

Jobs of one lane wait in line in the order of their start. Each can be cancelled, waiting or running.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
import time
from typing import Any

from pydantic import BaseModel

from blendsplat import memory
from blendsplat.errors import Cancelled, InputError
from blendsplat.jobs.devices import use_all_threads
from blendsplat.jobs.failures import describe_failure
from blendsplat.jobs.kinds import LANES, JobKind
from blendsplat.progress import Frame
from blendsplat.serving.connection import Outbox
from blendsplat.serving.job import ENDED, Job, JobProgress
from blendsplat.serving.priority import Priority

_log = logging.getLogger(__name__)
_REMEMBERED = 50


class JobQueue:
    """Starts, cancels and lists jobs and hands frames to them. Notifications are posted from the lanes' threads."""

    def __init__(self, outbox: Outbox, priority: Priority, log_path: str | None = None) -> None:
        self._outbox = outbox
        self._priority = priority
        self._log_path = log_path
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._closed = False
        self._lines: dict[str, queue.SimpleQueue[Job | None]] = {lane: queue.SimpleQueue() for lane in LANES}
        self._threads = [
            threading.Thread(target=self._run, args=(line,), name=f"jobs {lane}", daemon=True)
            for lane, line in self._lines.items()
        ]
        for thread in self._threads:
            thread.start()

    def create(self, kind: JobKind, params: BaseModel) -> Job:
        """A job that waits until ``submit`` (so that its id can be answered before its first notification)."""
        with self._lock:
            if self._closed:
                raise InputError("The engine is shutting down and takes no new job; start it again.")
            job = Job(f"job-{next(self._ids)}", kind, params)
            job.progress = JobProgress(job, self._outbox, self._priority)
            self._jobs[job.id] = job
            ended = [j.id for j in self._jobs.values() if j.state in ENDED]
            for old in ended[: max(0, len(self._jobs) - _REMEMBERED)]:
                del self._jobs[old]
        return job

    def submit(self, job: Job) -> None:
        """Put a created job in its lane's line."""
        self._lines[job.kind.lane].put(job)

    def cancel(self, job_id: str) -> str:
        """Ask a job to stop; returns its state. A waiting job is cancelled at once, a running one at its next check."""
        with self._lock:
            job = self._find(job_id)
            job.progress.cancelled = True
            if job.state == "running":
                job.state = "cancelling"
            if job.state != "queued":
                return job.state
            job.state = "cancelled"
        self._finish(job, "cancelled", None, describe_failure(Cancelled(), "waiting").as_json())
        return "cancelled"

    def give_frame(self, job_id: str, frame: Frame) -> tuple[bool, int]:
        """Put a frame into a job's inbox -> whether there was room, and how many wait there now.

        Raises InputError for a job that has ended or never was.
        """
        with self._lock:
            job = self._find(job_id)
            if job.state in ENDED:
                raise InputError(f"The job {job_id!r} has ended ({job.state}) and takes no more frames.")
            return job.progress.inbox.put(frame), len(job.progress.inbox)

    def listed(self) -> list[dict[str, Any]]:
        """Every job still remembered, oldest first."""
        with self._lock:
            return [job.as_json() for job in self._jobs.values()]

    def active(self) -> list[str]:
        """Ids of jobs that wait or run."""
        with self._lock:
            return [job.id for job in self._jobs.values() if job.state not in ENDED]

    def close(self, timeout: float) -> bool:
        """Cancel everything, wait for the running jobs to keep what they have. False if one did not stop in time."""
        with self._lock:
            self._closed = True
        for job_id in self.active():
            with contextlib.suppress(InputError):
                self.cancel(job_id)
        for line in self._lines.values():
            line.put(None)
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _find(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise InputError(f"There is no job {job_id[:100]!r}.")
        return job

    def _run(self, line: queue.SimpleQueue[Job | None]) -> None:
        while (job := line.get()) is not None:
            with self._lock:
                if job.state != "queued":
                    continue
                job.state = "running"
            self._run_one(job)
            memory.give_back()

    def _run_one(self, job: Job) -> None:
        _log.info("%s starts: %s %s", job.id, job.kind.name, job.params)
        try:
            use_all_threads()
            result = job.kind.run(job.params, job.progress)
        except Cancelled as error:
            self._finish(job, "cancelled", None, describe_failure(error, job.kind.doing).as_json())
        except BaseException as error:  # SystemExit too: a library must not end the lane
            failure = describe_failure(error, job.kind.doing, self._log_path)
            level = logging.WARNING if failure.expected else logging.ERROR
            _log.log(level, "%s failed: %s\n%s", job.id, failure.sentence, failure.detail)
            self._finish(job, "failed", None, failure.as_json())
        else:
            self._finish(job, "done", result, None)

    def _finish(self, job: Job, state: str, result: Any, error: dict[str, Any] | None) -> None:
        with self._lock:
            job.state = state
        job.progress.inbox.take()  # an ended job is remembered, the frames that it left are not
        _log.info("%s is %s", job.id, state)
        params = {"job": job.id, "kind": job.kind.name, "state": state, "result": result, "error": error}
        try:
            self._outbox.notify("job.finished", params)
        except Exception as problem:  # a result that JSON or the protocol cannot carry
            job.state = "failed"
            failure = describe_failure(problem, "sending the result", self._log_path)
            params |= {"result": None, "error": failure.as_json(), "state": "failed"}
            self._outbox.notify("job.finished", params)
