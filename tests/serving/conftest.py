# SPDX-License-Identifier: Apache-2.0
"""Engines for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_client import EngineProcess, LocalServer


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    """A real engine process."""
    process = EngineProcess(tmp_path)
    yield process
    process.process.kill()
    process.process.wait(30)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A Server in this process."""
    local = LocalServer()
    yield local
    local.close()
