# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's long jobs as Blender sees them: started here, followed by the pump on the main thread.

Each kind of job belongs to a lane: one job of a lane runs at a time, lanes run side by side, and questions
(``session.ask``) beside all of them. A running job may be sent frames and may send some back.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import preview, pump, session
from .link import LinkError

RUNNING = ("starting", "running", "cancelling", "adding")
TITLES = {
    "import": "Import",
    "track": "Track",
    "correct": "Correct",
    "fit_image": "Fit Head",
    "export_head": "Export Head",
    "train": "Train",
    "live": "Live Capture",
    "render": "Render",
    "reenact": "Read Performance",
    "evaluate": "Measure Avatar",
    "export": "Export",
    "bake": "Bake Networks",
    "keys": "Name and Draw Keys",
    "train_kaolrm": "Train Face Network",
    "generate_heads": "Generate Heads",
}
WORK = "work"
# What a cancelled job has left; others go on where they were.
_CANCELLED = {"bake": "Cancelled: nothing was added.", "live": "Ended: what was captured until then is kept."}
# What holds for a job whose engine ended under it.
_AFTERWARDS = {
    "train": "Continue Training goes on from the last checkpoint.",
    "train_kaolrm": "Started again, it goes on from the last checkpoint.",
    "bake": "Nothing was added; start again.",
    "live": "What was captured until then is kept in the take's folder.",
}
_ANEW = "What was there before is as it was; start again."
# What an engine that says nothing of lanes does with each kind; the others are the lane WORK.
_LANES = {"train": "train", "live": "train", "train_kaolrm": "train", "generate_heads": "train"}
_numbers = itertools.count(1)


@dataclass(eq=False)
class Job:
    """One job. state: starting, running, cancelling, adding (its result, to the scene), done, failed, cancelled.

    Holds no Blender data, only names.
    """

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
    detail: str = ""  # what the engine says beside its sentence
    result: Any = None
    request: session.Question | None = None
    asked_to_cancel: bool = False
    number: int = field(default_factory=lambda: next(_numbers))  # its own in this Blender session
    errands: list[session.Errand] = field(default_factory=list)  # what adding its result waits for
    pictured: bool = False  # the newest preview is on its way to the panel
    preview: np.ndarray | None = None  # [H,W,3] uint8, the newest
    pictures: int = 0  # how many previews have come

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    @property
    def connected(self) -> bool:
        """It was sent to the engine."""
        return self.request is not None and self.request.pending is not None

    @property
    def fraction(self) -> float:
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else 0.0

    @property
    def remarks(self) -> list[str]:
        """Sentences of the engine about a result that the artist should read."""
        notes = self.result.get("notes") if isinstance(self.result, dict) else None
        return [str(note) for note in notes] if isinstance(notes, list) else []

    def status(self) -> str:
        """One line for a panel."""
        if self.state == "starting":
            return "Starting the engine..." if not self.connected else "Starting..."
        if self.state == "cancelling":
            return "Cancelling, keeping what is finished..."
        if self.state == "adding":
            return "Adding the result..."
        if self.state == "failed":
            return self.error
        if self.state == "cancelled":
            return _CANCELLED.get(self.kind, "Cancelled. Start again to continue.")
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


_latest: dict[str, Job] = {}  # by kind
_running: list[Job] = []
_finished: dict[str, list[Callable[[Job], session.Errand | None]]] = {}
_broken_off: dict[str, list[Callable[[Job], None]]] = {}
_framed: dict[str, list[Callable[[Job, dict[str, Any], dict[str, np.ndarray]], None]]] = {}
_early: list[tuple[str, dict[str, Any], dict[str, np.ndarray]]] = []  # of jobs whose id is not known yet


def latest(kind: str) -> Job | None:
    """The running or last job of this kind."""
    return _latest.get(kind)


def lane_of(kind: str) -> str:
    """The lane that jobs of this kind run in, as the engine says."""
    said = session.link.hello.get("lanes")
    lanes = said if isinstance(said, dict) else _LANES
    return str(lanes.get(kind, WORK))


def running(lane: str | None = None) -> Job | None:
    """The job that runs in this lane (the last one started), or in any."""
    return next((job for job in reversed(_running) if lane is None or lane_of(job.kind) == lane), None)


def working_in(directory: str) -> Job | None:
    """The running job that works on this folder (a path of the engine's machine)."""
    return next((job for job in _running if job.params.get("directory") == directory), None)


def on_finished(kind: str, function: Callable[[Job], session.Errand | None]) -> None:
    """``function(job)`` is called on the main thread when the engine has done a job of this kind. Where it asks the
    engine for more, it returns the errand, and the job is done when that is."""
    functions = _finished.setdefault(kind, [])
    if function not in functions:
        functions.append(function)


def on_broken_off(kind: str, function: Callable[[Job], None]) -> None:
    """``function(job)`` is called on the main thread when a job of this kind was cancelled or failed, for what it may
    have left."""
    functions = _broken_off.setdefault(kind, [])
    if function not in functions:
        functions.append(function)


def on_frame(kind: str, function: Callable[[Job, dict[str, Any], dict[str, np.ndarray]], None]) -> None:
    """``function(job, info, arrays)`` is called on the main thread for every frame that a job of this kind sends, in
    order; none is left out but what only shows the present (inbox.py)."""
    functions = _framed.setdefault(kind, [])
    if function not in functions:
        functions.append(function)


def start(kind: str, params: dict[str, Any], context: dict[str, Any] | None = None) -> Job:
    """Start a job; it waits for the engine by itself. Raises LinkError when the engine cannot even be started."""
    session.start(patient=False)
    job = Job(kind, params, context or {})
    if job.params.get("device") == "":
        job.params["device"] = session.device()
    previous = _latest.get(kind)
    if previous is not None:
        preview.clear(previous.number)
    _latest[kind] = job
    _running.append(job)
    job.request = session.ask(
        "job.start", {"kind": kind, "params": job.params}, wait=False,
        then=lambda result, _arrays: _started(job, result), failed=lambda sentence: _fail(job, sentence),
    )  # fmt: skip
    return job


def cancel(job: Job) -> None:
    """Ask the engine to end a job; it keeps what it has."""
    if not job.running or job.state == "adding":
        return
    job.asked_to_cancel = True
    if job.request is not None and session.withdraw(job.request):
        _end(job, "cancelled")
        return
    job.state = "cancelling"
    if job.identity is not None:  # else as soon as the engine has told it
        _send_cancel(job)


def give_up(job: Job, sentence: str) -> None:
    """End a job that lacks what only Blender could give it: the sentence is its error, the engine is told to stop."""
    if job.identity is not None and job.running:
        _send_cancel(job)
    _fail(job, sentence)


def send_frame(
    job: Job, arrays: dict[str, np.ndarray], info: dict[str, Any] | None = None,
    then: Callable[[bool], None] = lambda _accepted: None,
) -> None:  # fmt: skip
    """Hand a running job a frame: arrays, and what is to be said of them. Returns at once.

    ``then(accepted)`` says whether the job took it (it may be too busy). Frames arrive in the order they are sent.
    Raises LinkError when the job does not run.
    """
    if job.identity is None or not job.running:
        raise LinkError(f"{TITLES.get(job.kind, job.kind)} does not run: it can take no frames.")

    def answered(result: Any, _arrays: dict[str, np.ndarray]) -> None:
        then(isinstance(result, dict) and result.get("accepted") is True)

    session.ask(
        "job.frame", {"job": job.identity, "info": info or {}}, arrays, wait=False,
        then=answered, failed=lambda _sentence: then(False),
    )  # fmt: skip


def wait(job: Job, timeout: float | None = None, tick: Callable[[Job], None] | None = None) -> Job:
    """Follow a job to its end without timers: in background and in scripts. Raises LinkError at the time-out."""
    deadline = None if timeout is None else time.monotonic() + timeout

    def look() -> None:
        if tick is not None:
            tick(job)
        if job.running and deadline is not None and time.monotonic() > deadline:
            cancel(job)
            raise LinkError(f"The job {job.kind!r} took longer than {timeout:.0f} seconds.")

    pump.until(lambda: not job.running, look)
    return job


def _started(job: Job, result: Any) -> None:
    if not isinstance(result, dict) or "job" not in result:
        raise LinkError("The engine did not tell the job's number; install the engine again.")
    job.identity = str(result["job"])
    if job.state == "starting":
        job.state = "running"
    if job.asked_to_cancel:
        _send_cancel(job)
    early = list(_early)
    _early.clear()
    for method, params, arrays in early:
        _take(method, params, arrays)


def _step(_end: float) -> float | None:
    """Show the newest pictures; end the jobs of an engine that died."""
    for job in list(_running):
        if job.state == "adding":
            _added(job)
        if job.pictured and job.preview is not None:
            preview.show(job.number, job.preview)
            job.pictured = False
    link = session.link
    if link.state in ("failed", "off") and link.notifications.empty():  # a job may have finished before its engine died
        for job in list(_running):
            if job.state != "adding":
                _fail(job, f"{link.sentence or 'The engine was stopped.'} {_AFTERWARDS.get(job.kind, _ANEW)}")
    if all(job.identity is not None for job in _running):
        _early.clear()
    return pump.SOON if _running else None


def _send_cancel(job: Job) -> None:
    session.ask("job.cancel", {"job": job.identity}, wait=False)


def _take(method: str, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    identity = str(params.get("job"))
    # Only running jobs: a new engine process counts its ids from the beginning again.
    job = next((job for job in _running if job.identity == identity), None)
    if job is None:
        if any(job.identity is None for job in _running):
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
        job.preview, job.pictured = arrays["image"], True
        job.pictures += 1
    elif method == "job.frame":
        for function in _framed.get(job.kind, ()):
            function(job, params.get("info") or {}, arrays)
    elif method == "job.finished":
        _finish(job, params)


def _finish(job: Job, params: dict[str, Any]) -> None:
    state = params.get("state")
    if state == "done":
        job.state, job.result, job.eta = "adding", params.get("result"), None
        try:
            job.errands = [e for function in _finished.get(job.kind, ()) if (e := function(job)) is not None]
        except Exception as error:  # a result that cannot be shown must not end the pump
            _fail(job, f"Finished, but the result could not be added: {session.sentence_of(error)}")
        else:
            _added(job)
    elif state == "cancelled":
        _end(job, "cancelled")
    else:
        error = params.get("error")
        job.detail = str(error.get("detail") or "") if isinstance(error, dict) else ""
        sentence = (
            str(error.get("sentence") or error.get("message") or error)
            if isinstance(error, dict)
            else str(error or "The engine gave no reason.")
        )
        _fail(job, session.about_paths(sentence, job.params))


def _added(job: Job) -> None:
    """The job is done when all that its result needed is here."""
    if any(errand.waiting for errand in job.errands):
        return
    sentence = " ".join(errand.error for errand in job.errands if errand.error)
    if sentence:
        _fail(job, f"Finished, but the result could not be added: {sentence}")
    else:
        _end(job, "done")


def _fail(job: Job, sentence: str) -> None:
    job.error = sentence
    _end(job, "failed")


def _end(job: Job, state: str) -> None:
    job.state, job.eta = state, None
    if job in _running:
        _running.remove(job)
    if state != "done":
        for function in _broken_off.get(job.kind, ()):
            function(job)


def _shown() -> object:
    """What panels show of jobs."""
    return [
        (job.state, job.stage, job.done, job.message, job.error, preview.version(job.number))
        for job in _latest.values()
    ]  # fmt: skip


def unregister() -> None:
    _latest.clear()
    _running.clear()
    _early.clear()


for _method in ("job.progress", "job.preview", "job.frame", "job.finished"):
    session.on_notification(_method, lambda params, arrays, method=_method: _take(method, params, arrays))
pump.add_step(_step)
pump.shows(_shown)
