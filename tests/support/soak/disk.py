# SPDX-License-Identifier: Apache-2.0
"""Disk: a file system that is full, turns read-only or vanishes while import, track, train, render and export write.

A small file system of its own, at random moments (where this process may mount one), and every single change on the
disk refused from there on. Each time: one sentence and exit code 4, what was there is there, and when the disk is well
the same command ends well.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .engines import Engine
from .forked import Ended, Forked
from .mounts import Disk, small_disk
from .steps import Step, World, ended_well, judge, make_world, settled, shuffled_changes
from .table import Row, Share

TRIES = 12  # of each fault in each step
MOUNTED_SHARE = 0.5  # of the time
REFUSALS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "failing": errno.EIO}
STORAGE, WRONG_INPUT = 4, 2  # exit codes


def run(share: Share) -> Iterator[Row]:
    """A row per fault, over all steps."""
    with Forked(share.folder / "forked") as forked, small_disk(share.folder) as disk:
        place = (disk.at if disk else share.folder) / "home"
        tries = DiskTries(share, forked, make_world(share.folder, forked, place), disk)
        yield from _mounted(share, tries)
        yield from _refused(share, tries)


def _mounted(share: Share, tries: DiskTries) -> Iterator[Row]:
    faults: dict[str, Callable[[Step], str]] = {
        "full": tries.full, "read-only": tries.read_only, "vanished": tries.vanished, "full, engine": tries.engine_full,
    }  # fmt: skip
    rows = {name: Row("disk", f"{name}, at a random moment") for name in faults}
    if tries.disk is None:
        for row in rows.values():
            row.note = "not tried: this process may not mount a file system"
        yield from rows.values()
        return
    until = share.left() * (1 - MOUNTED_SHARE)
    for number in range(TRIES):
        for step in tries.world.steps:
            for name, fault in faults.items():
                if share.wants(number, TRIES) and share.left() > until:
                    _count(rows[name], fault, step, "")
    yield from rows.values()


def _refused(share: Share, tries: DiskTries) -> Iterator[Row]:
    rows = {name: Row("disk", f"{name}, from each change on") for name in REFUSALS}
    moments = shuffled_changes(share, tries.world)
    for number, (step, change) in enumerate(moments):
        for name, error in REFUSALS.items():
            if share.wants(number, len(moments)):
                fault = lambda step, change=change, error=error: tries.refuse(step, change, error)  # noqa: E731
                _count(rows[name], fault, step, f"from change {change}")
    for row in rows.values():
        row.note = f"of {len(moments)} changes"
    yield from rows.values()


def _count(row: Row, fault: Callable[[Step], str], step: Step, what: str) -> None:
    begun = time.monotonic()
    wrong = fault(step)
    seconds = time.monotonic() - begun
    if wrong:
        row.bad(f"{step.name} {what}: {wrong}", lost="mixture" in wrong or "whole" in wrong, seconds=seconds)
    else:
        row.good(seconds)


class DiskTries:
    """One fault each: -> what went wrong, empty where nothing did."""

    def __init__(self, share: Share, forked: Forked, world: World, disk: Disk | None) -> None:
        self.share, self.forked, self.world, self.disk = share, forked, world, disk
        self._engines = share.folder / "engines"
        self._engines.mkdir(exist_ok=True)

    def full(self, step: Step) -> str:
        assert self.disk is not None
        return self._with(step, self.disk.fill, self.disk.empty, (STORAGE,))

    def read_only(self, step: Step) -> str:
        assert self.disk is not None
        return self._with(step, self.disk.protect, self.disk.unprotect, (STORAGE,))

    def vanished(self, step: Step) -> str:
        """What the step reads is gone as well, so that wrong input is as true."""
        assert self.disk is not None
        return self._with(step, self.disk.vanish, self.disk.come_back, (STORAGE, WRONG_INPUT))

    def _with(self, step: Step, break_it: Callable[[], None], mend: Callable[[], None], codes: tuple[int, ...]) -> str:
        home = self.world.home()
        after = float(self.share.random.uniform(0.0, step.seconds))
        running = self.forked.start(step.command(home))
        time.sleep(after)
        break_it()
        ended = running.wait()
        mend()
        return self._settled(step, home, ended, codes, f"after {after:.2f} s")

    def refuse(self, step: Step, change: int, error: int) -> str:
        home = self.world.home()
        ended = self.forked.run(step.command(home), watched=home, refuse_from=change, number=error)
        return self._settled(step, home, ended, (STORAGE,), os.strerror(error))

    def engine_full(self, step: Step) -> str:
        assert self.disk is not None
        home, after = self.world.home(), float(self.share.random.uniform(0.0, step.job_seconds))
        engine = Engine(self.forked, self._engines)
        try:
            job = engine.start(step.kind, **step.job(home))
            time.sleep(after)
            self.disk.fill()
            ended = engine.finished(job)
            self.disk.empty()
            code = "" if ended["state"] == "done" else ended["error"]["data"]["code"]
            if code not in ("", "storage"):
                return f"after {after:.2f} s: {ended['error']}"
            wrong = judge(step, self.world, home) or engine.do(step.kind, step.job(home))
        finally:
            self.disk.empty()
            engine.end()
        return f"after {after:.2f} s: {wrong}" if wrong else ended_well(step, self.world, home)

    def _settled(self, step: Step, home: Path, ended: Ended, codes: tuple[int, ...], when: str) -> str:
        """Judge how it ended, and the rest as after a kill. A run that had all it needed may end well."""
        said = [line for line in ended.text.strip().splitlines() if line.strip()][-1:] or [""]
        if ended.code not in (0, *codes) or "Traceback" in ended.text:
            return f"{when}: it ended with {ended.code}: {said[0][:300]}"
        if ended.code and not said[0].rstrip().endswith("."):
            return f"{when}: it said {said[0][:300]!r}"
        return settled(step, self.world, home, self.forked, when)
