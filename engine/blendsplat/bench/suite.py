# SPDX-License-Identifier: Apache-2.0
"""Every benchmark of the splatting core by name, and a whole run of some of them as one report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

from blendsplat.bench import machine
from blendsplat.bench.animate import animate
from blendsplat.bench.batch import batch
from blendsplat.bench.blend import blend
from blendsplat.bench.curves import curves
from blendsplat.bench.peers import peers
from blendsplat.bench.plan import Plan
from blendsplat.bench.render import render
from blendsplat.bench.report import Report, Table
from blendsplat.bench.sort import sort
from blendsplat.bench.step import step
from blendsplat.bench.surfaces import mesh, surfels

# The step is first, so that its peak of memory is its own.
BENCHES: dict[str, Callable[[Plan], list[Table]]] = {
    "step": step, "animate": animate, "render": render, "sort": sort, "blend": blend, "surfels": surfels,
    "mesh": mesh, "curves": curves, "peers": peers, "batch": batch,
}  # fmt: skip


def run_benches(called: str, plan: Plan, options: str = "") -> Report:
    """Run the benchmark of that name, or every one for "all". Each table carries the command that repeats it alone:
    options are those that the user gave, as text."""
    busy = machine.busy_warning(machine.load())
    report = Report(f"blendsplat bench {called}{options}", machine.describe(plan.device), [])
    before = [plan.ceilings(threads) for threads in plan.threads]
    names = list(BENCHES) if called == "all" else [called]
    for done, name in enumerate(names):
        plan.progress.update("bench", done, len(names), name)
        for table in BENCHES[name](plan):
            report.tables.append(replace(table, command=f"blendsplat bench {name}{options}"))
    report.ceilings = [asdict(one) for one in before]
    again = machine.measure_ceilings(before[-1].threads, plan.device)
    report.warnings = [text for text in (busy, machine.drift_warning(before[-1], again)) if text]
    return report
