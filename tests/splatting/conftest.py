# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a test once for every instruction set of this processor, or for every way to run the rasterizer; another
thread count for one test. And the soak, which waits to be asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from blendsplat.splatting.backend import cpu_backend

from .kernels import ALL_KERNELS, CPU_SETS, Kernels, choose_kernels


def use_set(name: str) -> Iterator[str]:
    """That compiled set for one test, if this processor has it."""
    kernels = cpu_backend().kernels
    before = kernels.instruction_set()
    if not kernels.use_instruction_set(name):
        pytest.skip(f"this processor or build has no {name}")
    yield name
    kernels.use_instruction_set(before)


@pytest.fixture(params=["avx512", "avx2", "generic"])
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    yield from use_set(request.param)


@pytest.fixture(params=CPU_SETS)
def raster_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """The sets that rasterize: besides those above "scalar", which does what a GPU thread does."""
    yield from use_set(request.param)


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def instruction_set_kept() -> Iterator[None]:
    """The CPU's instruction set is the same after the test as before."""
    before = cpu_backend().kernels.instruction_set()
    yield
    cpu_backend().kernels.use_instruction_set(before)


@pytest.fixture(params=ALL_KERNELS)
def kernels(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, instruction_set_kept: None
) -> Iterator[Kernels]:
    """Each compiled instruction set ("scalar" does what a GPU thread does), the emulated GPU, a real one."""
    chosen = choose_kernels(request.param, monkeypatch)
    if chosen is None:
        pytest.skip(f"no {request.param} on this machine or in this build")
    yield chosen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The soak runs when it is asked for: -m soak."""
    if "soak" in (config.getoption("-m") or ""):
        return
    skip = pytest.mark.skip(reason="a thousand scenes take minutes: pytest -m soak")
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(skip)
