# SPDX-License-Identifier: Apache-2.0
"""The CPU kernels under sanitizers, with several threads, and every kernel here against the float64 oracle.

The kernels' threads are their own (cuda_ext/cpu/threads.h), no OpenMP, so ThreadSanitizer understands them. What torch
and Python do is not built with it and is left out (ignore_noninstrumented_modules).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .table import Row, Share

ROOT = Path(__file__).resolve().parents[3]
KERNELS = ROOT / "cuda_ext"
SANITIZERS = {  # name: what g++ calls it, its library, how it is told to be used
    "ThreadSanitizer": ("thread", "libtsan.so", {"TSAN_OPTIONS": "ignore_noninstrumented_modules=1 exitcode=66"}),
    "AddressSanitizer and UBSan": (
        "address,undefined", "libasan.so",
        {"ASAN_OPTIONS": "detect_leaks=0:exitcode=66", "UBSAN_OPTIONS": "halt_on_error=1"},
    ),
}  # fmt: skip
# The tests of splatting that run every operation forwards and backwards, the ones with most threads first.
CASES = (
    "concurrency", "soak", "bind", "adam", "image_loss", "mesh", "surfels", "mesh_gradients", "mesh_fused",
    "pixel_weights", "playback", "tangent_frames", "occlusion", "bind_pass", "extremes",
)  # fmt: skip
SHARED = (
    "bindings", "bindings_training", "bindings_surfels", "bindings_transformer", "bindings_mesh", "dispatch", "threads",
    "rasterize", "bin", "mesh", "mesh_vertices", "mesh_borders", "mesh_surface",
)  # fmt: skip
SCALAR = ("scalar", "surfel_scalar")
ORACLE_SCENES, BLOCK = 1000, 100
FOR_THE_ORACLE = 0.15  # of the time, kept while the sanitizers' tests run


def run(share: Share) -> Iterator[Row]:
    watched = [_Watched(share.folder, name) for name in SANITIZERS]
    for number, case in enumerate(CASES):  # by turns, so that a short share has some of each
        for sanitizer in watched:
            if share.wants(number, len(CASES)) and (not number or share.left() > FOR_THE_ORACLE * share.seconds):
                sanitizer.test(case)
    yield from (sanitizer.row for sanitizer in watched)
    yield _oracle(share)


class _Watched:
    """The kernels' tests under one sanitizer; its row says how many of the groups the time was enough for."""

    def __init__(self, folder: Path, name: str) -> None:
        kind, library, options = SANITIZERS[name]
        self.row = Row("threads", f"CPU kernels' tests under {name}")
        preload = preloaded(library)
        self.here = preload is not None
        if not self.here:
            self.row.note = f"not here: g++ with {library}"
            return
        kernels = build_kernels(folder / kind.partition(",")[0], kind)
        self.environment = os.environ | options | {
            "LD_PRELOAD": str(preload), "SOAK_KERNELS": str(kernels), "OMP_NUM_THREADS": "3",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "support"), *sys.path]),
        }  # fmt: skip

    def test(self, case: str) -> None:
        if not self.here:
            return
        words = [
            *fixed_addresses(), sys.executable, "-m", "pytest", "-q", "-s", "-p", "soak.watched_kernels", "-p",
            "no:cacheprovider", f"tests/splatting/test_{case}.py", "-m", "not soak and not gpu", "-k",
            "not forked",  # sanitizers know no threads in a forked child
        ]  # fmt: skip
        began = time.monotonic()
        done = subprocess.run(
            words, cwd=ROOT, env=self.environment, capture_output=True, encoding="utf-8", errors="replace"
        )
        said, seconds = done.stdout + done.stderr, time.monotonic() - began
        if done.returncode in (0, 5) and "Sanitizer" not in said and "runtime error:" not in said:
            self.row.good(seconds)
        else:
            self.row.bad(f"test_{case}.py, code {done.returncode}: {said[-600:]}", seconds=seconds)
        left_out = len(CASES) - self.row.tried
        self.row.note = f"{left_out} of {len(CASES)} groups of tests left out for time" if left_out else ""


def preloaded(library: str) -> Path | None:
    """A sanitizer's library, which has to be there before Python; None where g++ or it is not."""
    if shutil.which("g++") is None or not sys.platform.startswith("linux"):
        return None
    told = subprocess.run(["g++", f"-print-file-name={library}"], capture_output=True, encoding="utf-8")
    path = Path(told.stdout.strip())
    return path if path.is_absolute() and path.exists() else None


def fixed_addresses() -> list[str]:
    """What goes before a command that ThreadSanitizer watches: it knows where programs usually lie in memory."""
    return ["setarch", "-R"] if shutil.which("setarch") else []


def build_kernels(folder: Path, kind: str) -> Path:
    """The CPU module with g++'s sanitizer ``kind``, the plain and the scalar set: -> its file."""
    import pybind11

    folder.mkdir(parents=True, exist_ok=True)
    includes = (KERNELS / "include", KERNELS / "cpu", pybind11.get_include(), sysconfig.get_path("include"))
    flags = ["-std=c++17", "-O1", "-g1", "-fPIC", "-fvisibility=hidden", f"-fsanitize={kind}"]
    sources = sorted((KERNELS / "cpu").glob("*.cpp"))

    def compiled(source: Path) -> str:
        target = folder / f"{source.stem}.o"
        set_of = [] if source.stem in SHARED else ["scalar"] if source.stem in SCALAR else ["generic"]
        define = [f"-DBLENDSPLAT_TARGET={name}" for name in set_of]
        words = ["g++", *flags, *(f"-I{path}" for path in includes), *define, "-c", str(source), "-o", str(target)]
        subprocess.run(words, check=True)
        return str(target)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, sources))
    module = folder / "_kernels_cpu.so"
    subprocess.run(
        ["g++", f"-fsanitize={kind}", "-shared", "-static-libstdc++", *objects, "-o", str(module), "-pthread"],
        check=True,
    )
    return module


def _oracle(share: Share) -> Row:
    row = Row("threads", f"every kernel here against the float64 oracle, {BLOCK} scenes a try")
    while share.wants(row.tried, ORACLE_SCENES // BLOCK):
        test = f"tests/splatting/test_soak.py::test_a_thousand_scenes[{row.tried}-host]"
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "soak", test]
        began = time.monotonic()
        done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace")
        seconds = time.monotonic() - began
        if done.returncode == 0:
            row.good(seconds)
        else:
            row.bad(f"{test}: {done.stdout[-600:]}", seconds=seconds)
    return row
