# SPDX-License-Identifier: Apache-2.0
"""A whole batch: what is finished is left alone, the rest is made here or by Ray, and every clip has its row."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsplat.batch.child import Work
from blendsplat.batch.clips import Unit
from blendsplat.batch.events import Heard
from blendsplat.batch.local import cores, run_local
from blendsplat.batch.make import Outcome, outcome_of
from blendsplat.batch.record import Record, next_stage
from blendsplat.errors import Cancelled, InputError, StorageError
from blendsplat.files import write_json
from blendsplat.progress import Progress

CANCELLED, FAILED = Cancelled.exit_code, 1
_CORES_A_CLIP = 2


@dataclass(frozen=True)
class Machines:
    """Who makes the avatars. workers, threads: None for what fits. ray: an address, "local", or None: this machine."""

    workers: int | None = None
    threads: int | None = None
    ray: str | None = None


def run_batch(
    units: Sequence[Unit], work: Work, machines: Machines, progress: Progress, report: Path | None = None
) -> dict[str, Any]:
    """-> {clips: [rows], made, kept, failed, cancelled, seconds, exit_code}, also written to ``report``. Failed clips
    are in the table and do not stop the others; a progress that is cancelled does."""
    begun = time.monotonic()
    _check_writable(units)
    rows: dict[str, Outcome] = {unit.name: outcome_of(unit, "kept") for unit in units if _is_finished(unit, work)}
    left = [unit for unit in units if unit.name not in rows]
    events = _events(left, work, machines, progress)
    telling = _Telling(progress, len(units), len(rows))
    for event in events:
        if event.outcome is not None:
            rows[event.unit.name] = event.outcome
        telling.hear(event)
    result = summary([rows[unit.name] for unit in units], time.monotonic() - begun)
    if report is not None:
        write_json(report, result)
    return result


def summary(rows: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The result of a batch from its rows."""
    counts = {state: sum(row.state == state for row in rows) for state in ("made", "kept", "failed", "cancelled")}
    clips = [row.as_json() for row in rows]
    return {"clips": clips, **counts, "seconds": round(seconds, 2), "exit_code": exit_code(rows)}


def exit_code(rows: Sequence[Outcome]) -> int:
    """0 where every avatar is there; a cancelled batch's; the code of all clips that failed, or 1 where they differ."""
    if any(row.state == "cancelled" for row in rows):
        return CANCELLED
    codes = {row.exit_code for row in rows if row.state == "failed"}
    return 0 if not codes else codes.pop() if len(codes) == 1 else FAILED


def fitting_workers(units: int, devices: int, on_cards: bool) -> int:
    """How many workers this machine takes: one a card, or one for every two processors."""
    return max(1, min(devices if on_cards else cores() // _CORES_A_CLIP, units))


def _check_writable(units: Sequence[Unit]) -> None:
    """Raises StorageError where the batch's folder cannot be made."""
    for folder in {unit.log.parent for unit in units}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"{error.strerror}; choose another one"
            raise StorageError(f"The folder {folder} cannot be made: {reason}.", repr(error)) from error


def _is_finished(unit: Unit, work: Work) -> bool:
    try:
        return next_stage(unit, work.recipe, Record(unit.record)) is None
    except InputError:  # it cannot be read: the worker tells it as the clip's row
        return False


def _events(units: Sequence[Unit], work: Work, machines: Machines, progress: Progress) -> Iterator[Heard]:
    def stopped() -> bool:
        return progress.cancelled

    if not units:
        return iter(())
    if machines.ray is not None:
        from blendsplat.batch.ray_cluster import import_ray, run_on_ray

        import_ray()
        asked = Work(work.recipe, machines.threads or 0, work.words)
        return run_on_ray(units, asked, machines.ray, machines.workers, stopped)
    devices = _devices(work.recipe.device)
    workers = machines.workers or fitting_workers(len(units), len(devices), devices[0] != "cpu")
    threads = machines.threads or max(1, cores() // workers)
    return run_local(units, Work(work.recipe, threads, work.words), workers, devices, stopped)


def _devices(asked: str) -> list[str]:
    """ "auto" is every card of this machine, or the processor. Raises InputError for a device that is not there."""
    from blendsplat.jobs.devices import devices, resolve_device

    chosen = resolve_device(asked)
    if asked == "auto" and chosen != "cpu":
        return [entry["id"] for entry in devices() if entry["id"] != "cpu"]
    return [chosen]


class _Telling:
    """Progress in a terminal: how many clips are done, what those are at that are not, and a line for each that is."""

    def __init__(self, progress: Progress, total: int, done: int) -> None:
        self.progress, self.total, self.done = progress, total, done
        self.now: dict[str, str] = {}
        note = f"{done} of {total} avatars were finished before." if done else ""
        progress.update("clips", done, total, note)

    def hear(self, event: Heard) -> None:
        name, row = event.unit.name, event.outcome
        if row is None:
            self.now[name] = f"{name}: {event.stage}" + (f" {event.share:.0%}" if event.share else "")
        else:
            self.now.pop(name, None)
            self.done += row.state in ("made", "kept", "failed")
            if row.state != "cancelled":
                self.progress.note(describe(row))
        self.progress.update("clips", self.done, self.total, ", ".join(self.now.values()))


def describe(row: Outcome) -> str:
    """talk: made in 31 s, PSNR 28.4 dB; or what went wrong."""
    if row.problem:
        return f"{row.clip}: {row.problem}"
    psnr = "" if row.psnr is None else f", PSNR {row.psnr:.1f} dB"
    return f"{row.clip}: {row.state} in {sum(row.seconds.values()):.0f} s{psnr}."
