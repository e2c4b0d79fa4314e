# SPDX-License-Identifier: Apache-2.0
"""Times several things in turn, A B A B, so that a machine that is slower for a while is slower for all of them."""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from blendsplat.progress import Progress

FEWEST_ROUNDS = 3
WARM_UPS = 2


@dataclass(frozen=True)
class Job:
    """Something to time. On a GPU ``threads`` only says how many threads feed it."""

    run: Callable[[], object]
    threads: int = 1


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one call: wall-clock, and the least processor time of all its threads (a busy machine lengthens
    the first, hardly the second)."""

    median: float
    minimum: float
    processor: float
    rounds: int

    def per(self, count: int) -> Timing:
        """The same per one of ``count`` things that a call does."""
        return Timing(self.median / count, self.minimum / count, self.processor / count, self.rounds)


def interleaved(
    jobs: dict[str, Job], device: torch.device, seconds: float, progress: Progress | None = None
) -> dict[str, Timing]:
    """Run every job in turn, round after round, for about ``seconds`` and at least FEWEST_ROUNDS rounds.

    Two rounds before that are not counted. On CUDA a call is timed with events on the current stream.
    """
    progress = progress or Progress()
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    with _no_collection(), _threads_kept():
        end = float("inf")
        rounds = 0
        while rounds < WARM_UPS + FEWEST_ROUNDS or time.perf_counter() < end:
            if rounds == WARM_UPS:
                end = time.perf_counter() + seconds
            for name, job in jobs.items():
                progress.check()
                torch.set_num_threads(job.threads)
                taken = _milliseconds(job.run, device)
                if rounds >= WARM_UPS:
                    samples[name].append(taken)
            rounds += 1
    return {name: _timing(taken) for name, taken in samples.items()}


def graphed(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """``run`` as a CUDA graph where it can be captured (static buffers, no synchronisation), else ``run`` itself."""
    if device.type != "cuda":
        return run
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            run()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run()
    except RuntimeError:  # it allocates on the host or waits for the device
        torch.cuda.synchronize(device)
        return run
    return graph.replay


def _timing(taken: list[tuple[float, float]]) -> Timing:
    elapsed, processor = zip(*taken, strict=True)
    return Timing(statistics.median(elapsed), min(elapsed), min(processor), len(taken))


def _milliseconds(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """(elapsed, processor time)"""
    processor = time.process_time()
    if device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)), 1e3 * (time.process_time() - processor)
    began = time.perf_counter()
    run()
    elapsed = time.perf_counter() - began
    return 1e3 * elapsed, 1e3 * (time.process_time() - processor)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def _threads_kept() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
