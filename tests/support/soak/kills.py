# SPDX-License-Identifier: Apache-2.0
"""Kills: command and engine end by SIGKILL in the middle of import, track, train, render and export.

At random moments over the step's time, and the command just before every single change that it makes on the disk. Then
what lies there is judged, the same step is given again, and must end well and leave nothing of the dead one behind.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .engines import Engine
from .forked import Forked
from .steps import Step, World, ended_well, judge, make_world, settled, shuffled_changes
from .table import Row, Share

KILLS = 20  # of each step, by each way
BLENDER_KILLS = 20
RANDOM_SHARE, BLENDER_SHARE = 0.7, 0.12  # of the time


def run(share: Share) -> Iterator[Row]:
    """A row per step and way; the last is Blender's."""
    with Forked(share.folder / "forked") as forked:
        tries = _Tries(share, forked, make_world(share.folder, forked))
        ways: dict[str, Callable[[Step], str]] = {
            "command": tries.kill_command, "engine": tries.kill_engine,
        }  # fmt: skip
        rows = {(way, step.name): Row("kills", f"{way}, {step.name}") for way in ways for step in tries.world.steps}
        _round_robin(share, rows, tries, ways)
        yield from rows.values()
        yield from _every_write(share, tries)
    yield _blender(share)


def _round_robin(
    share: Share, rows: dict[tuple[str, str], Row], tries: _Tries, ways: dict[str, Callable[[Step], str]]
) -> None:
    """One try of each after the other, so that a short share has some of all."""
    until = max((1 - RANDOM_SHARE) * share.left(), BLENDER_SHARE * share.seconds)
    for number in range(KILLS):
        for (way, name), row in rows.items():
            if share.wants(number, KILLS) and share.left() > until:
                step = next(step for step in tries.world.steps if step.name == name)
                _count(row, lambda step=step, way=way: ways[way](step), f"kill {number}")
    for (_, name), row in rows.items():
        row.note = f"undisturbed {next(s.seconds for s in tries.world.steps if s.name == name):.1f} s"


def _every_write(share: Share, tries: _Tries) -> Iterator[Row]:
    rows = {
        step.name: Row("kills", f"command, {step.name}, before each change on the disk") for step in tries.world.steps
    }
    for number, (step, change) in enumerate(shuffled_changes(share, tries.world)):
        if share.wants(number // len(rows), 10_000) and share.left() > BLENDER_SHARE * share.seconds:
            what = f"change {change} of {step.writes}"
            _count(rows[step.name], lambda step=step, change=change: tries.kill_before(step, change), what)
    for step in tries.world.steps:
        rows[step.name].note = f"of {step.writes} changes"
    yield from rows.values()


def _count(row: Row, once: Callable[[], str], what: str) -> None:
    begun = time.monotonic()
    wrong = once()
    seconds = time.monotonic() - begun
    if wrong:
        row.bad(f"{what}: {wrong}", lost="ended" not in wrong, seconds=seconds)
    else:
        row.good(seconds)


class _Tries:
    """One kill each: -> what went wrong, empty where nothing did."""

    def __init__(self, share: Share, forked: Forked, world: World) -> None:
        self.share, self.forked, self.world = share, forked, world
        self._engines = share.folder / "engines"
        self._engines.mkdir(exist_ok=True)

    def _moment(self, seconds: float) -> float:
        return float(self.share.random.uniform(0.0, seconds))

    def kill_command(self, step: Step) -> str:
        home, after = self.world.home(), self._moment(step.seconds)
        self.forked.run(step.command(home), after=after)
        return settled(step, self.world, home, self.forked, f"after {after:.2f} s")

    def kill_before(self, step: Step, change: int) -> str:
        home = self.world.home()
        self.forked.run(step.command(home), watched=home, die_at=change)
        return settled(step, self.world, home, self.forked, "")

    def kill_engine(self, step: Step) -> str:
        home, after = self.world.home(), self._moment(step.job_seconds)
        engine = Engine(self.forked, self._engines)
        engine.start(step.kind, **step.job(home))
        time.sleep(after)
        engine.end()
        if wrong := judge(step, self.world, home):
            return f"after {after:.2f} s: {wrong}"
        engine = Engine(self.forked, self._engines)
        try:
            wrong = engine.do(step.kind, step.job(home))
        finally:
            engine.end()
        if wrong:
            return f"after {after:.2f} s: the next job ended as {wrong}"
        return ended_well(step, self.world, home)


def _blender(share: Share) -> Row:
    """Blender's own Python module, whose engine is killed again and again while it works."""
    row = Row("kills", "Blender while its engine is killed")
    count = min(BLENDER_KILLS, share.most or BLENDER_KILLS)
    seconds = max(share.left(), 0.1 * share.seconds)
    script = Path(__file__).with_name("in_blender_kills.py")
    words = [sys.executable, str(script), str(share.folder / "earlier"), str(count), str(seconds), str(share.seed)]
    begun = time.monotonic()
    with (share.folder / "blender.txt").open("w") as said:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=said, text=True, timeout=seconds + 300)
    for line in done.stdout.splitlines():
        if line.startswith("killed: "):
            row.good()
        elif line.startswith("wrong: "):
            row.bad(line)
    if done.returncode:
        row.bad(f"Blender ended with {done.returncode}", lost=True)
    row.slowest_s = (time.monotonic() - begun) / max(row.tried, 1)
    return row
