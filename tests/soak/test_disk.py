# SPDX-License-Identifier: Apache-2.0
"""A slice of the campaign's full disks: changes that are refused, and a small disk that is filled and taken away."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from soak.disk import DiskTries
from soak.forked import Forked
from soak.mounts import small_disk
from soak.steps import World
from soak.table import Share


@pytest.mark.slow
@pytest.mark.parametrize("part, number", [(0.1, errno.EROFS), (0.6, errno.ENOSPC)])
def test_a_disk_that_refuses_from_a_change_on(
    world: World, forked: Forked, tmp_path: Path, part: float, number: int
) -> None:
    tries = DiskTries(Share(tmp_path, 0, 1000.0), forked, world, None)
    for step in world.steps:
        assert tries.refuse(step, max(1, round(part * step.writes)), number) == ""


def test_a_small_disk_fills_turns_read_only_and_vanishes(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        if disk is None:
            pytest.skip("this process may not mount a file system")
        file = disk.at / "file"
        file.write_bytes(b"there")
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.at / "more").write_bytes(bytes(5000))
        disk.empty()
        disk.protect()
        with pytest.raises(OSError, match="Read-only"):
            (disk.at / "other").write_bytes(b"x")
        disk.unprotect()
        disk.vanish()
        assert not file.exists()
        disk.come_back()
        assert file.read_bytes() == b"there"
    assert not disk.at.is_mount() and not file.exists()
