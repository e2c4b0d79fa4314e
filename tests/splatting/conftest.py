# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a test once for every instruction set of this processor; another thread count for one test."""

from __future__ import annotations

import pytest
import torch

from blendsplat.splatting.backend import cpu_backend


@pytest.fixture(params=["avx512", "avx2", "generic"])
def instruction_set(request):
    kernels = cpu_backend().kernels
    before = kernels.instruction_set()
    if not kernels.use_instruction_set(request.param):
        pytest.skip(f"this processor or build has no {request.param}")
    yield request.param
    kernels.use_instruction_set(before)


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
