# SPDX-License-Identifier: GPL-3.0-or-later
"""The one connection to the engine that this Blender has, shared by panels, operators and the render engine.

It lives in this module, not in the scene: loading another file or undoing must not lose a running engine. Blender's
main thread never waits for an answer: ``ask`` takes what is to be done with it. Only a render (in its thread) waits.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .. import preferences
from ..formats import FileError
from . import engine_words, processes, pump, shared_folders
from .link import EngineError, Link, LinkError, Pending

link = Link()
EXPECTED = (LinkError, EngineError, FileError)  # failures that are sentences already
_KEPT_LOGS = 5
_log_numbers = itertools.count(1)
_FALLBACK_PRESETS = [("draft", "Draft", "Small and quick: to see whether the clip works")]
_preset_items: list[tuple[str, str, str]] = list(_FALLBACK_PRESETS)


def log_path() -> Path | None:
    """The log of the engine that this Blender runs, or ran last; None before the first."""
    return link.log_path


def _new_log() -> Path:
    """A file that no other engine writes to: neither another Blender's, nor the last one that is still ending."""
    folder = preferences.user_directory() / "logs"
    others = sorted(folder.glob("engine-*.log"), key=lambda path: path.name) if folder.is_dir() else []
    done = [path for path in others if not processes.alive(path.name.split("-")[1])]
    own = [path for path in others if path.name.startswith(f"engine-{os.getpid()}-")]
    with contextlib.suppress(OSError):
        (preferences.user_directory() / "engine.log").unlink(missing_ok=True)  # of version 0.1.0
    for old in [*sorted(done, key=_age)[:-_KEPT_LOGS], *sorted(own, key=_age)[:-_KEPT_LOGS]]:
        with contextlib.suppress(OSError):  # Windows refuses while it is open
            old.unlink()
    return folder / f"engine-{os.getpid()}-{next(_log_numbers)}.log"


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def engine_command() -> list[str]:
    """The words that start the engine; [] when there is none yet. Raises LinkError for unbalanced quotes."""
    prefs = preferences.get()
    if prefs.engine_kind == "INSTALLED":
        return preferences.installed_command()
    try:
        return engine_words.split(prefs.engine_command)
    except ValueError as error:
        raise LinkError(f"The engine command has unbalanced quotes ({error}).") from error


def start(*, patient: bool = True) -> None:
    """Start the engine if it is not running. Raises LinkError."""
    if link.state not in ("starting", "ready"):
        link.start(engine_command(), _new_log(), patient=patient)
    pump.wake()


def ready(timeout: float = 120.0, stop: Callable[[], bool] = lambda: False, *, patient: bool = True) -> Link:
    """A connection that has said hello, waiting for it if need be: for renders, never on the main thread of a window.

    Raises LinkError.
    """
    if link.state != "ready":
        start(patient=patient)
        link.wait_ready(timeout, stop)
    return link


@dataclass(eq=False)
class Errand:
    """Something that the engine was asked for, as panels show it. state: waiting, done, failed (with ``error``)."""

    state: str = field(default="waiting", init=False)
    error: str = field(default="", init=False)
    home: Any = field(default=None, init=False)  # whose it is, for panels; None: everybody's

    @property
    def waiting(self) -> bool:
        return self.state == "waiting"

    def finish(self, act: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Do what the errand was for; what goes wrong with it is a sentence for ``failed`` and for the panels."""
        try:
            act()
            self.state = "done"
        except Exception as failure:
            if not isinstance(failure, EXPECTED):
                traceback.print_exc()  # for the console: the panel shows one sentence
            self.state, self.error = "failed", self.words(failure)
            failed(self.error)

    def words(self, failure: Exception) -> str:
        """A failure as a sentence for a panel."""
        return sentence_of(failure)


@dataclass(eq=False)
class Question(Errand):
    """One request and what is to be done with its answer."""

    method: str
    params: dict[str, Any]
    arrays: dict[str, np.ndarray]
    then: Callable[[Any, dict[str, np.ndarray]], None]
    failed: Callable[[str], None]
    timeout: float
    pending: Pending | None = None
    deadline: float = float("inf")

    def words(self, failure: Exception) -> str:
        sentence = sentence_of(failure)
        return about_paths(sentence, self.params) if isinstance(failure, EngineError) else sentence


Answer = tuple[Any, dict[str, np.ndarray]]
_questions: list[Question] = []
_topics: dict[str, Errand] = {}
_notified: dict[str, list[Callable[[dict[str, Any], dict[str, np.ndarray]], None]]] = {}


def ask(
    method: str,
    params: dict[str, Any],
    arrays: dict[str, np.ndarray] | None = None,
    *,
    then: Callable[[Any, dict[str, np.ndarray]], None] = lambda _result, _arrays: None,
    failed: Callable[[str], None] = lambda _sentence: None,
    topic: str = "",
    wait: bool | None = None,
    timeout: float = 120.0,
) -> Question:
    """Ask the engine, starting it when needed, and return at once.

    ``then(result, arrays)`` is called on the main thread when the answer is here, ``failed(sentence)`` when there is
    none within ``timeout`` seconds of a running engine or when ``then`` raised. Neither may hold Blender data: undo or
    another file may have replaced them. With ``wait``, or (None) where no timer would fire, the answer has been dealt
    with when this returns. ``topic`` is what panels find it by (``errand``).
    """
    question = Question(method, params, arrays or {}, then, failed, timeout)
    _questions.append(question)
    if topic:
        _topics[topic] = question
    try:
        start(patient=False)
    except LinkError as error:
        _settle(question, error)
        return question
    _advance(question)
    if pump.synchronous() if wait is None else wait:
        pump.until(lambda: not question.waiting)
    return question


def ask_all(
    asked: list[tuple[str, dict[str, Any]]],
    *,
    then: Callable[[list[Answer | str]], None],
    failed: Callable[[str], None] = lambda _sentence: None,
    topic: str = "",
    wait: bool | None = None,
) -> Errand:
    """Ask several (method, params). ``then(answers)`` is called once, when all are here, with (result, arrays) in their
    order, or a sentence where there is none; ``failed(sentence)`` when ``then`` raised. Otherwise as ``ask``."""
    errand, answers = Errand(), [None] * len(asked)
    if topic:
        _topics[topic] = errand

    def take(index: int, answer: Answer | str) -> None:
        answers[index] = answer
        if all(item is not None for item in answers):
            errand.finish(lambda: then(answers), failed)

    for index, (method, params) in enumerate(asked):
        ask(
            method, params, then=lambda result, arrays, i=index: take(i, (result, arrays)),
            failed=lambda sentence, i=index: take(i, sentence), wait=wait,
        )  # fmt: skip
    if not asked:
        errand.finish(lambda: then([]), failed)
    return errand


def withdraw(question: Question) -> bool:
    """Do not ask after all; False when it was sent already."""
    if question.pending is not None or not question.waiting:
        return False
    _questions.remove(question)
    question.state = "failed"
    return True


def errand(topic: str) -> Errand | None:
    """The latest errand of this topic."""
    return _topics.get(topic)


def on_notification(method: str, function: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> None:
    """``function(params, arrays)`` is called on the main thread for each of the engine's notifications ``method``, in
    the order they were sent."""
    functions = _notified.setdefault(method, [])
    if function not in functions:
        functions.append(function)


def _step(end: float) -> float | None:
    """Push questions forward and hand out what the engine told by itself."""
    link.beat()
    for question in list(_questions):
        if question in _questions:  # an earlier one's continuation may have taken turns of its own
            _advance(question)
    notifications = link.notifications
    while not notifications.empty() and time.monotonic() < end:
        message = notifications.get_nowait()
        for function in _notified.get(str(message.body.get("method")), ()):
            function(message.body.get("params") or {}, message.arrays)
    if _questions or link.state == "starting" or not notifications.empty():
        return pump.SOON
    return pump.LATER if link.state == "ready" else None


def _advance(question: Question) -> None:
    """Engine ready -> sent -> answered, or too late."""
    pending = question.pending
    if pending is not None and pending.done:
        _settle(question, None)
    elif pending is not None and time.monotonic() > question.deadline:
        sentence = f"The engine did not answer within {question.timeout:.0f} seconds ({question.method})."
        _settle(question, LinkError(sentence))
    elif pending is None and link.state in ("off", "failed"):
        _settle(question, LinkError(link.sentence or "The engine was stopped."))
    elif pending is None and link.state == "ready":
        question.deadline = time.monotonic() + question.timeout
        try:
            question.pending = link.request(question.method, question.params, question.arrays)
        except LinkError as error:
            _settle(question, error)


def _settle(question: Question, error: Exception | None) -> None:
    """Take a question off the list and do what is to be done with its answer, or with having none."""
    _questions.remove(question)

    def answer() -> None:
        if error is not None:
            raise error
        assert question.pending is not None
        question.then(*question.pending.result())

    question.finish(answer, question.failed)


def preset_items() -> list[tuple[str, str, str]]:
    """The engine's training presets as enum items. The list is kept alive here, as Blender needs it to be."""
    global _preset_items
    presets = link.hello.get("presets") or []
    items = [
        (str(p["name"]), str(p.get("title") or p["name"]), str(p.get("description", "")))
        for p in presets
        if "name" in p
    ]
    if items and items != _preset_items:
        _preset_items = items
    return _preset_items


def knows_preset(name: str) -> bool:
    """Whether the engine can train with it, as far as is known: an engine that has not said hello may, and a preset's
    own file is only looked at by the engine."""
    presets = link.hello.get("presets") if link.state == "ready" else None
    return not presets or name.endswith(".toml") or name in (preset.get("name") for preset in presets)


def device() -> str:
    """The device to train and render on: the preferences' wish, else the engine's best."""
    return preferences.get().device.strip() or "auto"


def elsewhere() -> bool:
    """The engine command goes to another machine."""
    try:
        return preferences.get().engine_kind == "COMMAND" and engine_words.through_ssh(engine_command())
    except LinkError:
        return False


def remote() -> bool:
    """The engine runs elsewhere: files that only it can see are not checked for here."""
    return bool(_pairs())


def _pairs() -> list[shared_folders.Pair]:
    return preferences.folder_pairs() if preferences.get().engine_kind == "COMMAND" else []


def engine_path(path: str | Path) -> str:
    """A path of this machine as the engine's machine knows it (for an engine behind ssh with shared folders)."""
    return shared_folders.to_engine(bpy.path.abspath(str(path)), _pairs())


def local_path(path: str | Path) -> Path:
    """The reverse of ``engine_path``: a path that the engine told, on this machine."""
    return Path(shared_folders.to_here(str(path), _pairs()))


def about_paths(sentence: str, params: dict[str, Any]) -> str:
    """An engine's sentence about a path that it was sent and cannot use, with what to do where the path is fine on this
    machine, or the engine runs on another one."""
    if preferences.get().engine_kind != "COMMAND":
        return sentence
    path = shared_folders.missing_in(sentence, params.values(), closed=elsewhere())
    here = local_path(path) if path else None
    if here is None or not (here.exists() or elsewhere()):
        return sentence
    if str(here) != path and not here.exists():
        return f"{sentence} This is said of the engine's machine; here it would be {here}, which does not exist either."
    told = f"{sentence} This is said of the engine's machine{', this one has it' if here.exists() else ''}."
    if str(here) != path:
        return f"{told} Check the folder's name there under Shared Folders in the add-on's preferences."
    return f"{told} {shared_folders.WAY_OUT}"


def unseen(folder: str) -> str:
    """Why what the engine put into a folder of its machine cannot be used here, or ""."""
    here = local_path(folder)
    if preferences.get().engine_kind != "COMMAND" or here.exists():
        return ""
    return (
        f"it lies in {folder} on the engine's machine, which this one cannot see{_as(here, folder)}. "
        f"{shared_folders.WAY_OUT}"
    )


def _as(here: Path, folder: str) -> str:
    return f" as {here}" if str(here) != folder else ""


def weights() -> str:
    """The face network's weights as jobs take them: "auto", "none", or a folder on the engine's machine."""
    prefs = preferences.get()
    if prefs.network == "FOLDER":
        return engine_path(prefs.weights.strip()) if prefs.weights.strip() else ""
    return "none" if prefs.network == "NONE" else "auto"


def sentence_of(error: Exception) -> str:
    """One sentence for a report or a panel."""
    return error.sentence if isinstance(error, EngineError) else str(error) or type(error).__name__


def stop() -> None:
    """End the engine (when the add-on is disabled)."""
    link.stop()


def unregister() -> None:
    stop()
    link.log_path = None
    _questions.clear()
    _topics.clear()


pump.add_step(_step)
pump.shows(
    lambda: (link.state, link.sentence, round(link.silence / 5), [(name, item.state) for name, item in _topics.items()])
)
