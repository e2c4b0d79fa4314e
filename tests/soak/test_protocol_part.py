# SPDX-License-Identifier: Apache-2.0
"""A slice of the campaign's messages to the engine and to the add-on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from soak import protocol
from soak.mutate_messages import Attacker, Paths
from soak.table import Share

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign measures as Linux tells")


@pytest.mark.slow
def test_engine_and_add_on_live_through_anything(tmp_path: Path) -> None:
    rows = list(protocol.run(Share(tmp_path, seed=5, seconds=200.0, most=120)))
    assert [row.case for row in rows] == [
        "messages to the engine", "memory and files afterwards", "broken streams to the engine",
        "messages to the add-on",
    ]  # fmt: skip
    assert all(row.tried for row in rows) and not [failure for row in rows for failure in row.failures]


def test_no_message_asks_for_devices_to_be_written(tmp_path: Path) -> None:
    """The campaign runs as whoever starts it: what it names as an output lies in its own folder, or is refused."""
    random = np.random.default_rng(0)
    paths = Paths(tmp_path)
    for _ in range(500):
        target = paths.target(random)
        assert not target.startswith(("/dev", "/proc", "/etc")), target
    attacker = Attacker(random, paths, tmp_path / "out")
    drawn = [attacker.draw() for _ in range(300)]
    identities = [sent.identity for sent in drawn if sent.identity is not None]
    assert len(identities) == len(set(identities)) > 100
