# SPDX-License-Identifier: Apache-2.0
"""The same batch as tasks of Ray, over a cluster's machines: a task starts the worker process that local.py starts.

Ray gives processors and graphics cards to tasks, and starts a task again whose machine was lost; the clip's record says
how far it was. Imported only where it is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from blendsplat.batch.child import ATTEMPTS, Child, Work
from blendsplat.batch.clips import Unit
from blendsplat.batch.events import Heard
from blendsplat.batch.local import cores
from blendsplat.batch.make import Outcome, outcome_of
from blendsplat.errors import InputError

LOCAL = "local"  # the address that starts a Ray of our own on this machine
_LOOK_SECONDS = 0.5
_ANSWER_SECONDS = 10.0
_LEAVE_SECONDS = 60.0  # for stopped tasks to keep their checkpoints
_STORE_BYTES = 80 * 2**20  # Ray's least: tasks hand each other nothing but rows of the table
_MOST_THREADS = 8  # of a clip where nobody said how many: beyond, another clip makes more of the processors


def import_ray() -> Any:
    """Raises InputError where it is not installed."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            "--ray needs Ray, which is not installed here: pip install 'ray>=2.9' (or 'blendsplat[ray]') on every "
            "machine of the cluster; without --ray the clips are made by this machine alone.",
            repr(error),
        ) from error


def run_on_ray(
    units: Sequence[Unit], work: Work, address: str, at_once: int | None, stopped: Callable[[], bool]
) -> Iterator[Heard]:
    """As local.run_local. at_once: tasks at a time; None: as many as the cluster takes. threads of ``work``: 0 for
    what the smallest machine offers. Raises InputError where no cluster answers at ``address``."""
    ray = import_ray()
    _connect(ray, address)
    try:
        yield from _Tasks(ray, units, work, at_once or len(units)).run(stopped)
    finally:
        ray.shutdown()


def make_on_ray(unit: Unit, work: Work) -> dict[str, Any]:
    """What a task does, on the machine that Ray chose."""
    child = Child(unit, work)
    try:
        return child.run().as_json()
    finally:
        child.leave(_LEAVE_SECONDS)  # Ray interrupts a task that is cancelled by an exception


class _Tasks:
    """The tasks of one batch: those that wait, and those that Ray has."""

    def __init__(self, ray: Any, units: Sequence[Unit], work: Work, at_once: int) -> None:
        self.ray, self.waiting, self.at_once = ray, list(units), at_once
        self.running: dict[Any, Unit] = {}
        threads = work.threads or processors_of_a_task(ray, at_once)
        cards = 1 if work.recipe.device.startswith("cuda") else 0
        check_machines(ray, threads, cards)
        # whom Ray has given no card must take none, whatever the machine has; who has one sees no other
        device = "cuda" if cards else "cpu"
        self.work = Work(replace(work.recipe, device=device), threads, work.words)
        self.task = ray.remote(num_cpus=threads, num_gpus=cards, max_retries=ATTEMPTS - 1)(make_on_ray)

    def run(self, stopped: Callable[[], bool]) -> Iterator[Heard]:
        while self.waiting or self.running:
            if stopped():
                yield from self._stop()
                return
            while self.waiting and len(self.running) < self.at_once:
                unit = self.waiting.pop(0)
                self.running[self.task.remote(unit, self.work)] = unit
                yield Heard(unit, "given to Ray")
            yield from self._ended(_LOOK_SECONDS)

    def _ended(self, seconds: float) -> Iterator[Heard]:
        done, _ = self.ray.wait(list(self.running), timeout=seconds)
        for reference in done:
            unit = self.running.pop(reference)
            yield Heard(unit, outcome=self._outcome(unit, reference))

    def _outcome(self, unit: Unit, reference: Any) -> Outcome:
        errors = self.ray.exceptions
        try:
            return Outcome(**self.ray.get(reference))
        except errors.TaskCancelledError:
            return outcome_of(unit, "cancelled", exit_code=130)
        except errors.RayTaskError as error:  # an exception in our own code there
            problem = f"The task failed on its machine ({str(error.cause)[:300]})."
            return outcome_of(unit, "failed", problem=problem, code="internal", exit_code=70)
        except errors.RayError as error:
            problem = f"The machines that made it were lost, {ATTEMPTS} times ({type(error).__name__})."
            return outcome_of(unit, "failed", problem=problem, code="died", exit_code=1, attempts=ATTEMPTS)

    def _stop(self) -> Iterator[Heard]:
        """Begin nothing more; tasks are interrupted, whose workers keep what there is."""
        for unit in self.waiting:
            yield Heard(unit, outcome=outcome_of(unit, "cancelled", exit_code=130))
        self.waiting = []
        for reference in self.running:
            with contextlib.suppress(Exception):  # it ended meanwhile
                self.ray.cancel(reference)
        end = time.monotonic() + _LEAVE_SECONDS
        while self.running and time.monotonic() < end:
            yield from self._ended(_LOOK_SECONDS)
        for unit in self.running.values():
            yield Heard(unit, outcome=outcome_of(unit, "cancelled", exit_code=130))
        self.running = {}


def check_answers(address: str) -> None:
    """Raises InputError where nobody listens at HOST:PORT or ray://HOST:PORT: Ray itself would ask for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():  # auto, or what only Ray understands
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _nobody(address, str(error)) from error


def _nobody(address: str, reason: str) -> InputError:
    return InputError(
        f"No Ray answers at {address!r} ({' '.join(reason.split())[:200]}): start one with 'ray start --head' and name "
        "its address, or use --ray local.",
        reason,
    )


def _connect(ray: Any, address: str) -> None:
    check_answers(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would ask a server of its maker
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == LOCAL:
            ray.init(num_cpus=cores(), include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
        else:
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray has many, and no family of them
        raise _nobody(address, str(error)) from error


def check_machines(ray: Any, threads: int, cards: int) -> None:
    """Raises InputError where no machine of the cluster has what a task asks for: Ray would wait for one for ever."""
    wanted = {"CPU": threads, "GPU": cards}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(has.get(name, 0) >= count for name, count in wanted.items()) for has in machines):
        words = f"{threads} processors" + (" and a graphics card" if cards else "")
        raise InputError(
            f"No machine of the Ray cluster has {words}: add one, or ask for less (--threads, --device cpu)."
        )


def processors_of_a_task(ray: Any, at_once: int) -> int:
    """What the smallest machine offers, or its share of that where there are more tasks than machines."""
    machines = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    machines = [count for count in machines if count]
    if not machines:
        raise InputError("The Ray cluster has no processors to give; add machines to it.")
    share = -(-at_once // len(machines))  # tasks on a machine
    return max(1, min(min(machines) // share, _MOST_THREADS))
