# SPDX-License-Identifier: Apache-2.0
"""The compiled CPU module itself: its exponential, its choice of instructions, and that no torch is in it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blendsplat.splatting.backend import cpu_backend

SETS = ["avx512", "avx2", "generic", "scalar"]


@pytest.mark.parametrize("name", SETS)
def test_exponential_error(name):
    kernels = cpu_backend().kernels
    before = kernels.instruction_set()
    if not kernels.use_instruction_set(name):
        pytest.skip(f"no {name} here")
    try:
        x = -np.random.default_rng(0).uniform(0, 30, 1 << 20).astype(np.float32)
        x[:16] = [0, -1, -0.5, -1e-8, -0.25, -2, -3.5, -99, -8, -7.994353, -1e-30, -0.75, -16, -29, -4.5, -5.5]
        out = np.empty_like(x)
        kernels.exponential2(x.ctypes.data, out.ctypes.data, x.size)
        exact = np.exp2(x.astype(np.float64))
        assert np.abs(out / exact - 1).max() < 2.5e-7  # the polynomial 1e-7, and the rounding of its last steps
        far = np.array([-126.0, -1000, -1e30, -np.inf] * 4, np.float32)
        out = np.empty_like(far)
        kernels.exponential2(far.ctypes.data, out.ctypes.data, far.size)
        assert (out >= 0).all() and (out < 1e-29).all()
    finally:
        kernels.use_instruction_set(before)


def test_unknown_instruction_set_is_refused():
    assert not cpu_backend().kernels.use_instruction_set("mmx")


def test_environment_asks_for_a_lesser_set():
    code = "from blendsplat.splatting.backend import cpu_backend; print(cpu_backend().instruction_set)"
    environment = {**os.environ, "BLENDSPLAT_CPU": "generic", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "generic"


def module_bytes(name: str) -> bytes:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        pytest.skip(f"{name} is not built")
    return Path(spec.origin).read_bytes()


@pytest.mark.parametrize("name", ["blendsplat._kernels_cpu", "blendsplat._kernels_cuda"])
def test_no_torch_in_the_binary(name):
    """So one binary serves every torch version."""
    binary = module_bytes(name)
    for word in (b"libtorch", b"libc10", b"c10::", b"_ZN2at", b"_ZN3c10", b"_ZN5torch"):
        assert word not in binary


def test_module_imports_without_torch():
    code = "import sys; sys.modules['torch'] = None; import blendsplat._kernels_cpu as k; print(k.instruction_set())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in SETS
