# SPDX-License-Identifier: Apache-2.0
"""A stale binary beside newer Python is refused with one sentence, whichever way it comes; no AttributeError deep in a
step."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from blendsplat.errors import BlendsplatError
from blendsplat.splatting import backend
from blendsplat.splatting.cpu import CpuBackend
from blendsplat.splatting.cuda import CudaBackend
from blendsplat.splatting.interface import KERNEL_INTERFACE, check_interface
from blendsplat.splatting.launch import launch_on
from blendsplat.splatting.surfels import surfel_backend

HEADER = Path(__file__).parents[2] / "cuda_ext" / "include" / "blendsplat" / "interface.h"
WRONG = (None, KERNEL_INTERFACE - 1, KERNEL_INTERFACE + 1)


def stale_module(name: str, interface: int | None) -> ModuleType:
    module = ModuleType(name)
    if interface is not None:
        module.INTERFACE = interface
    return module


@pytest.fixture
def no_cached_backends():
    for load in (backend.cpu_backend, backend.cuda_backend):
        load.cache_clear()
    yield
    for load in (backend.cpu_backend, backend.cuda_backend):
        load.cache_clear()


@pytest.mark.parametrize("ask", [backend.backend_for, launch_on, surfel_backend])
@pytest.mark.parametrize("interface", WRONG)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_kernels_of_another_version_are_refused(monkeypatch, no_cached_backends, device, interface, ask):
    name = f"blendsplat._kernels_{device}"
    monkeypatch.setitem(sys.modules, name, stale_module(name, interface))
    with pytest.raises(BlendsplatError, match="make build") as raised:
        ask(torch.device(device))
    assert raised.value.detail == f"{name}: interface {interface}, expected {KERNEL_INTERFACE}"


@pytest.mark.parametrize("backend_class", [CpuBackend, CudaBackend])
@pytest.mark.parametrize("interface", WRONG)
def test_a_backend_checks_the_module_it_is_given(backend_class, interface):
    """As the emulation is given to the CUDA backend, past backend_for."""
    with pytest.raises(BlendsplatError, match="make build"):
        backend_class(stale_module("blendsplat._kernels_cuda_emulated", interface))


@pytest.mark.parametrize("module", ["_kernels_cpu", "_kernels_cuda", "_kernels_cuda_emulated"])
def test_the_modules_of_this_build_are_of_this_version(module):
    name = f"blendsplat.{module}"
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"this build has no {module}")
    check_interface(importlib.import_module(name))


def test_the_header_has_the_same_number():
    (number,) = re.findall(r"kInterface = (\d+);", HEADER.read_text(encoding="utf-8"))
    assert int(number) == KERNEL_INTERFACE
