# SPDX-License-Identifier: Apache-2.0
"""The machine of a benchmark: what it is, whether it is busy, and what it can do at best, measured in the same run."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from itertools import cycle
from typing import Any

import torch

import blendsplat
from blendsplat.errors import BlendsplatError
from blendsplat.jobs.devices import processor_name
from blendsplat.splatting.backend import cpu_backend

BUSY_LOAD = 0.25  # load average per core above which somebody else is at work
DRIFT = 0.10  # change of the machine's own speed within a run that makes its figures noise
TRIAD_FLOATS = 1 << 25  # 128 MB an array
TRIAD_PIECES = 16

# Instructions of the multiply-add units that cuda_ext/include/blendsplat/blend.h takes per pair on a GPU, where the
# exponential has a unit of its own.
_GPU_PAIR_SLOTS, _GPU_GRADIENT_SLOTS = 18, 36

# name in the kernels -> rounds of one sample, the known result, its tolerance
_ARITHMETIC = {
    "multiply_adds": (200_000, 0.5, 1e-6),
    "exponentials": (40_000, 0.641185744, 1e-6),
    "pairs": (2_000, None, 0.0),
    "pair_gradients": (1_500, None, 0.0),
}


@dataclass(frozen=True)
class Ceilings:
    """What the machine could do at best with a number of threads, per second."""

    threads: int
    bytes: float  # a <- a + s b on arrays larger than any cache: two read, one written
    multiply_adds: float  # float32, one each
    exponentials: float  # float32
    pairs: float  # pixel-Gaussian pairs composited, data in the first cache
    pair_gradients: float  # the same backwards, without sums across lanes

    def at_least(self, fewer: Ceilings) -> Ceilings:
        """The better of each: on a busy machine several threads wait for the one that has no core."""
        rates = {f.name: max(getattr(self, f.name), getattr(fewer, f.name)) for f in fields(self)}
        return Ceilings(**rates | {"threads": self.threads})


def describe(device: torch.device) -> dict[str, Any]:
    """The machine without its name: processor, cores, instructions, memory, versions; the GPU if it is asked for."""
    described: dict[str, Any] = {
        "processor": processor_name(),
        "cores": cores(),
        "instruction_set": cpu_backend().instruction_set,
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "blendsplat": blendsplat.__version__,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        described |= {
            "gpu": properties.name,
            "gpu_memory_gb": round(properties.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
        }
    return described


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float | None:
    """Load average of the last minute; None where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def peak_memory(device: torch.device) -> float | None:
    """Gigabytes: on a GPU what torch holds at most, else the most that this process has held; None where unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if sys.platform == "linux":
        import resource  # not on every system

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return None


def busy_warning(load_before: float | None) -> str | None:
    """A sentence when somebody else uses the machine, judged by the load before the benchmark began."""
    if load_before is None or load_before <= BUSY_LOAD * cores():
        return None
    return (
        f"The machine was busy when this began (load {load_before:.1f} on {cores()} cores): times are too long and "
        "scatter. Ratios within one table may be used, single figures should not be quoted."
    )


def drift_warning(before: Ceilings, after: Ceilings) -> str | None:
    """A sentence when the machine itself became faster or slower during the run."""
    change = after.multiply_adds / before.multiply_adds - 1
    if abs(change) <= DRIFT:
        return None
    return (
        f"The machine's own multiply-add peak on {before.threads} thread(s) changed by {100 * change:+.0f} % during "
        "the run: somebody else worked on it, or its clock changed. Repeat it before quoting figures."
    )


def measure_ceilings(threads: int, device: torch.device, seconds: float = 0.5) -> Ceilings:
    """Measure the peaks; each takes about ``seconds``. Raises BlendsplatError if one computes a wrong result."""
    if device.type == "cuda":
        return _cuda_ceilings(threads, device, seconds)
    rates = {name: _arithmetic(name, threads, seconds) for name in _ARITHMETIC}
    return Ceilings(threads, _triad(threads, device, seconds), **rates)


def _arithmetic(name: str, threads: int, seconds: float) -> float:
    rounds, expected, tolerance = _ARITHMETIC[name]
    kernels = cpu_backend().kernels
    if kernels.instruction_set() == "generic":
        rounds //= 8
    with ThreadPoolExecutor(threads) as pool:

        def once() -> float:
            values, operations = zip(*pool.map(lambda _: kernels.ceiling(name, rounds), range(threads)), strict=True)
            if expected is not None and max(abs(value - expected) for value in values) > tolerance:
                raise BlendsplatError(f"The kernel that measures {name} computed {values[0]}, expected {expected}.")
            return float(sum(operations))

        return _best_rate(once, seconds)


def _triad(threads: int, device: torch.device, seconds: float) -> float:
    """Bytes a second of a <- a + s b: two arrays read, one written, and no line fetched only to be overwritten.

    A sample is a piece of the arrays, short enough to fall between the turns of other programs; by the time a piece's
    turn comes again, the caches have forgotten it.
    """
    a, b = torch.zeros(TRIAD_FLOATS, device=device), torch.ones(TRIAD_FLOATS, device=device)
    pieces = TRIAD_PIECES if device.type == "cpu" else 1
    turns = cycle(list(zip(a.chunk(pieces), b.chunk(pieces), strict=True)))
    done = 0
    before = torch.get_num_threads()
    torch.set_num_threads(threads)

    def once() -> float:
        nonlocal done
        done += 1
        into, other = next(turns)
        into.add_(other, alpha=0.5)
        return 3.0 * 4 * into.numel()

    try:
        rate = _best_rate(partial(_synchronised, once, device), seconds)
    finally:
        torch.set_num_threads(before)
    if float(a.double().sum()) != 0.5 * done * (TRIAD_FLOATS // pieces):
        raise BlendsplatError("The measurement of the memory's speed computed a wrong result.")
    return rate


def _cuda_ceilings(threads: int, device: torch.device, seconds: float) -> Ceilings:
    """Multiply-adds by a matrix product in plain float32; the rest follows from how many each one takes."""
    size = 4096
    left, right = torch.ones(size, size, device=device), torch.full((size, size), 0.5, device=device)
    product = torch.empty_like(left)
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False

    def once() -> float:
        torch.mm(left, right, out=product)
        return float(size) ** 3

    try:
        rate = _best_rate(partial(_synchronised, once, device), seconds)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    if not bool((product == 0.5 * size).all()):
        raise BlendsplatError("The measurement of the multiply-adds computed a wrong result.")
    return Ceilings(
        threads, _triad(threads, device, seconds), rate, rate / 8, rate / _GPU_PAIR_SLOTS, rate / _GPU_GRADIENT_SLOTS
    )  # fmt: skip


def _synchronised(once: Callable[[], float], device: torch.device) -> float:
    done = once()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return done


def _best_rate(once: Callable[[], float], seconds: float) -> float:
    """The best rate of repeated samples: a ceiling is what nothing disturbed."""
    once()
    best, end = 0.0, time.perf_counter() + seconds
    while best == 0.0 or time.perf_counter() < end:
        began = time.perf_counter()
        operations = once()
        best = max(best, operations / (time.perf_counter() - began))
    return best
