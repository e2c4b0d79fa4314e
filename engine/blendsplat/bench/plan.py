# SPDX-License-Identifier: Apache-2.0
"""What a benchmark is asked for: device, threads, time, and sizes that replace the usual ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from blendsplat.bench.machine import Ceilings, cores, measure_ceilings
from blendsplat.bench.timing import Job, Timing, interleaved
from blendsplat.errors import InputError
from blendsplat.progress import Progress

SECONDS = 6.0


@dataclass
class Plan:
    """None: the benchmark's own sizes."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    threads: tuple[int, ...] = (2, 1)
    seconds: float = SECONDS  # per table, roughly
    gaussians: int | None = None
    size: int | None = None
    batch: int | None = None
    uv: int | None = None
    avatar: Path | None = None
    progress: Progress = field(default_factory=Progress)
    _ceilings: dict[int, Ceilings] = field(default_factory=dict)

    def ceilings(self, threads: int) -> Ceilings:
        """The machine's, measured when first asked for. Two threads can do at least what one can."""
        if threads not in self._ceilings:
            measured = measure_ceilings(threads, self.device, min(0.5, self.seconds / 10))
            self._ceilings[threads] = measured if threads == 1 else measured.at_least(self.ceilings(1))
        return self._ceilings[threads]

    def time(self, runs: dict[str, Callable[[], object]], share: float = 1.0) -> dict[tuple[str, int], Timing]:
        """Time every run with every number of threads, in turn; (name, threads) -> timing."""
        jobs = {f"{name}/{threads}": Job(run, threads) for name, run in runs.items() for threads in self.threads}
        timings = interleaved(jobs, self.device, self.seconds * share, self.progress)
        return {(name, threads): timings[f"{name}/{threads}"] for name in runs for threads in self.threads}


def parse_threads(text: str | None, device: torch.device) -> tuple[int, ...]:
    """ "2,1" -> (2, 1). None: all cores and one; one alone on a GPU. Raises InputError."""
    if text is None:
        return (1,) if device.type == "cuda" or cores() == 1 else (cores(), 1)
    try:
        threads = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        threads = ()
    if not threads or min(threads) < 1 or max(threads) > 1024:
        raise InputError(f"--threads {text!r} cannot be used: give numbers of threads, as in 1,2.")
    return threads
