# SPDX-License-Identifier: Apache-2.0
"""A process's memory, open files and threads over time, and whether they grow (Linux: /proc)."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

GROWTH, FREE_MB = 0.1, 60.0  # of the first third's mean; and what caches of so many jobs may still take


@dataclass(frozen=True)
class Vital:
    """seconds: since the first; memory_mb: resident; files, threads: how many."""

    seconds: float
    memory_mb: float
    files: int
    threads: int


def vital_of(process: int, begun: float) -> Vital:
    """Now. Raises OSError where the process is gone."""
    status = Path(f"/proc/{process}/status").read_text()
    said = dict(line.split(":", 1) for line in status.splitlines())
    files = len(os.listdir(f"/proc/{process}/fd"))
    memory = int(said["VmRSS"].split()[0]) / 1024
    return Vital(time.monotonic() - begun, memory, files, int(said["Threads"]))


@dataclass
class Vitals:
    """settled: between jobs, when nothing is under way; peak_mb: of all samples in between as well."""

    process: int
    settled: list[Vital] = field(default_factory=list)
    peak_mb: float = 0.0
    _begun: float = field(default_factory=time.monotonic)
    _ended: threading.Event = field(default_factory=threading.Event)

    def settle(self) -> None:
        self.settled.append(vital_of(self.process, self._begun))
        self.peak_mb = max(self.peak_mb, self.settled[-1].memory_mb)

    def watch(self, every: float = 2.0) -> threading.Thread:
        """In a thread, until ``end``."""

        def look() -> None:
            while not self._ended.wait(every):
                try:
                    self.peak_mb = max(self.peak_mb, vital_of(self.process, self._begun).memory_mb)
                except OSError:
                    return

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        return thread

    def end(self) -> None:
        self._ended.set()

    def grown(self) -> str:
        """What grew: a sentence; empty where nothing did, or there are too few samples to say. The first tenth, in
        which everything is loaded, does not count."""
        first, last = self._thirds()
        if len(first) < 2:
            return ""
        memory = _mean(last, "memory_mb") - _mean(first, "memory_mb")
        if memory > FREE_MB + GROWTH * _mean(first, "memory_mb"):
            return f"memory grew by {memory:.0f} MB ({self.told()})"
        for name in ("files", "threads"):
            if min(getattr(v, name) for v in last) > max(getattr(v, name) for v in first):
                return f"the number of {name} grew ({self.told()})"
        return ""

    def told(self) -> str:
        """First third, last third, slope."""
        first, last = self._thirds()
        if not first:
            return f"{len(self.settled)} samples"
        times = np.array([v.seconds for v in first + last]) / 60
        memory = np.array([v.memory_mb for v in first + last])
        slope = round(np.polyfit(times, memory, 1)[0], 2) + 0.0 if np.ptp(times) > 0 else 0.0
        parts = [f"{_mean(first, 'memory_mb'):.0f} -> {_mean(last, 'memory_mb'):.0f} MB, {slope:+.2f} MB/min"]
        parts += [f"{_mean(first, name):.0f} -> {_mean(last, name):.0f} {name}" for name in ("files", "threads")]
        return "; ".join(parts)

    def curve(self, lines: int = 12) -> str:
        """A small table of the samples, evenly chosen."""
        rows = ["| minute | memory MB | files | threads |", "| ---: | ---: | ---: | ---: |"]
        for place in np.unique(np.linspace(0, len(self.settled) - 1, lines).round().astype(int)):
            v = self.settled[place]
            rows.append(f"| {v.seconds / 60:.1f} | {v.memory_mb:.0f} | {v.files} | {v.threads} |")
        return "\n".join(rows) + "\n"

    def _thirds(self) -> tuple[list[Vital], list[Vital]]:
        counted = self.settled[max(1, len(self.settled) // 10) :]
        third = len(counted) // 3
        return (counted[:third], counted[-third:]) if third else ([], [])


def _mean(vitals: list[Vital], name: str) -> float:
    return float(np.mean([getattr(v, name) for v in vitals]))
