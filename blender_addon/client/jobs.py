# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's long jobs as Blender sees them: started here, followed by a timer on the main thread.

Only the main thread touches Blender data: the link's threads fill a queue, the pump empties it a little at a time. In
background, where timers do not fire, ``wait`` drains the same queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import bpy
import numpy as np

from . import preview, session
from .link import EngineError, LinkError, Pending

_BUDGET = 0.02
RUNNING = ("starting", "running", "cancelling")
TITLES = {
    "import": "Import",
    "track": "Track",
    "fit_image": "Fit Head",
    "export_head": "Export Head",
    "train": "Train",
    "render": "Render",
    "evaluate": "Evaluate",
    "export": "Export",
}


@dataclass
class Job:
    """One job. state: starting, running, cancelling, done, failed, cancelled. Holds no Blender data, only names."""

    kind: str
    params: dict[str, Any]
    context: dict[str, Any] = field(default_factory=dict)  # the add-on's own notes, e.g. the scene's name
    identity: str | None = None
    state: str = "starting"
    stage: str = ""
    done: float = 0.0
    total: float = 0.0
    message: str = ""
    eta: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    error: str = ""
    result: Any = None
    request: Pending | None = None
    connected: bool = False
    asked_to_cancel: bool = False

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    @property
    def fraction(self) -> float:
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else 0.0

    @property
    def remarks(self) -> list[str]:
        """Sentences of the engine about a result that the artist should read."""
        told = self.result.get("notes") if isinstance(self.result, dict) else None
        return [str(note) for note in told] if isinstance(told, list) else []

    def status(self) -> str:
        """One line for a panel."""
        if self.state == "starting":
            return "Starting the engine..." if not self.connected else "Starting..."
        if self.state == "cancelling":
            return "Cancelling, keeping what is finished..."
        if self.state == "failed":
            return self.error
        if self.state == "cancelled":
            return "Cancelled. Start again to continue."
        if self.state == "done":
            return "Done."
        parts = [self.message or self.stage.replace("_", " ").capitalize()]
        if self.eta is not None and self.eta > 0:
            parts.append(f"{duration(self.eta)} left")
        return ", ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """5 s, 2 min 05 s, 1 h 03 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


_jobs: dict[str, Job] = {}  # the latest job of each kind
_finished: dict[str, Callable[[Job], None]] = {}
_early: list[tuple[str | None, dict[str, Any], dict[str, np.ndarray]]] = []


def latest(kind: str) -> Job | None:
    """The running or last job of this kind."""
    return _jobs.get(kind)


def running() -> Job | None:
    """A running job, if any."""
    return next((job for job in _jobs.values() if job.running), None)


def on_finished(kind: str, function: Callable[[Job], None]) -> None:
    """``function(job)`` is called on the main thread when a job of this kind is done."""
    _finished[kind] = function


def start(kind: str, params: dict[str, Any], context: dict[str, Any] | None = None) -> Job:
    """Start a job; it waits for the engine by itself. Raises LinkError when the engine cannot even be started."""
    session.start(patient=False)
    job = Job(kind, params, context or {})
    _jobs[kind] = job
    preview.clear()
    ensure_pump()
    return job


def cancel(job: Job) -> None:
    """Ask the engine to end a job; it keeps what it has."""
    if not job.running:
        return
    job.asked_to_cancel = True
    if job.identity is None and job.request is None:
        job.state = "cancelled"
        return
    job.state = "cancelling"
    _send_cancel(job)


def wait(job: Job, timeout: float | None = None, tick: Callable[[Job], None] | None = None) -> Job:
    """Follow a job to its end without timers: in background and in scripts. Raises LinkError at the time-out."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while job.running:
        pump(budget=0.2)
        if tick is not None:
            tick(job)
        if deadline is not None and time.monotonic() > deadline:
            cancel(job)
            raise LinkError(f"The job {job.kind!r} took longer than {timeout:.0f} seconds.")
        time.sleep(0.02)
    return job


def pump(budget: float = _BUDGET) -> None:
    """Take in what the engine sent, for at most ``budget`` seconds, and push jobs forward. Main thread only."""
    link = session.link
    link.beat()
    running_jobs = [job for job in _jobs.values() if job.running]
    if link.state in ("starting", "ready"):
        for job in running_jobs:
            _advance(job)
    end = time.monotonic() + budget
    notifications = link.notifications
    while not notifications.empty() and time.monotonic() < end:
        message = notifications.get_nowait()
        _take(message.body.get("method"), message.body.get("params") or {}, message.arrays)
    if link.state in ("failed", "off") and notifications.empty():  # a job may have finished just before its engine died
        for job in running_jobs:
            if job.running:
                _fail(job, link.sentence or "The engine was stopped.")
    _redraw()


def _advance(job: Job) -> None:
    """Engine ready -> job.start sent -> id received."""
    link = session.link
    if job.request is None and link.state == "ready":
        job.connected = True
        if "device" in job.params and not job.params["device"]:
            job.params["device"] = session.device()
        try:
            job.request = link.request("job.start", {"kind": job.kind, "params": job.params})
        except LinkError as error:
            _fail(job, str(error))
    elif job.identity is None and job.request is not None and job.request.done:
        try:
            result, _ = job.request.result()
            job.identity = str(result["job"])
            if job.state == "starting":
                job.state = "running"
            if job.asked_to_cancel:
                _send_cancel(job)
            early = list(_early)
            _early.clear()
            for method, params, arrays in early:
                _take(method, params, arrays)
        except (LinkError, EngineError, KeyError, TypeError) as error:
            _fail(job, session.sentence_of(error))


def _send_cancel(job: Job) -> None:
    if job.identity is None:
        return  # sent as soon as the engine has told the job's id
    try:
        session.link.request("job.cancel", {"job": job.identity})
    except LinkError as error:
        _fail(job, str(error))


def _take(method: str | None, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    identity = str(params.get("job"))
    # Only running jobs: a new engine process counts its ids from the beginning again.
    job = next((job for job in _jobs.values() if job.running and job.identity == identity), None)
    if job is None:
        if any(job.running and job.identity is None for job in _jobs.values()) and len(_early) < 10_000:
            _early.append((method, params, arrays))  # it overtook the answer to job.start, which tells the id
        return
    if method == "job.progress":
        job.stage, job.message = str(params.get("stage", "")), str(params.get("message") or "")
        job.done, job.total = float(params.get("done") or 0), float(params.get("total") or 0)
        eta = params.get("eta_s")
        job.eta = float(eta) if isinstance(eta, (int, float)) else None
        job.figures = {
            str(k): float(v) for k, v in (params.get("figures") or {}).items() if isinstance(v, (int, float))
        }
    elif method == "job.preview" and "image" in arrays:
        preview.show(arrays["image"])
    elif method == "job.finished":
        _finish(job, params)


def _finish(job: Job, params: dict[str, Any]) -> None:
    state = params.get("state")
    if state == "done":
        job.state, job.result, job.eta = "done", params.get("result"), None
        try:
            _finished.get(job.kind, lambda _job: None)(job)
        except Exception as error:  # a result that cannot be shown must not end the pump
            job.error = f"Finished, but the result could not be added: {error}"
            job.state = "failed"
    elif state == "cancelled":
        job.state = "cancelled"
    else:
        error = params.get("error")
        _fail(
            job,
            str(error.get("sentence") or error.get("message") or error)
            if isinstance(error, dict)
            else str(error or "The engine gave no reason."),
        )


def _fail(job: Job, sentence: str) -> None:
    job.state, job.error, job.eta = "failed", sentence, None


def ensure_pump() -> None:
    """Make sure that the timer runs (it ends by itself when there is no engine)."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_timer):
        bpy.app.timers.register(_timer, first_interval=0.1, persistent=True)


def _timer() -> float | None:
    pump()
    if session.link.state in ("off", "failed") and running() is None:
        return None
    return 0.1 if running() is not None or session.link.state == "starting" else 1.0


_shown: Any = None


def _redraw() -> None:
    """Redraw the panels when what they show has changed."""
    global _shown
    shown = (
        session.link.state,
        session.link.sentence,
        preview.version(),
        [(j.state, j.stage, j.done, j.message, j.error) for j in _jobs.values()],
    )
    if shown == _shown or bpy.app.background:
        return
    _shown = shown
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in ("VIEW_3D", "PREFERENCES"):
                area.tag_redraw()


def unregister() -> None:
    if bpy.app.timers.is_registered(_timer):
        bpy.app.timers.unregister(_timer)
    _jobs.clear()


session.on_start(ensure_pump)
