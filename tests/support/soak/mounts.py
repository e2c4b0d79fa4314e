# SPDX-License-Identifier: Apache-2.0
"""A small file system of its own that can be filled, made read-only and taken away while somebody writes to it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

SIZE = "24m"
_PATIENCE = 2.0  # seconds; a disk on which a file is being written does not turn read-only


class Disk:
    """``at``: where it is mounted."""

    def __init__(self, folder: Path) -> None:
        self.at, self._kept = folder / "disk", folder / "kept"
        for place in (self.at, self._kept):
            place.mkdir(parents=True, exist_ok=True)

    def fill(self) -> None:
        """To the last byte."""
        with contextlib.suppress(OSError), (self.at / "filler").open("wb", 0) as file:
            block = bytes(4096)
            while file.write(block):
                pass

    def empty(self) -> None:
        (self.at / "filler").unlink(missing_ok=True)

    def protect(self) -> None:
        """As soon as no file is open for writing."""
        end = time.monotonic() + _PATIENCE
        while not _mount("-o", "remount,ro", str(self.at)) and time.monotonic() < end:
            time.sleep(0.002)

    def unprotect(self) -> None:
        _mount("-o", "remount,rw", str(self.at))

    def vanish(self) -> None:
        _mount("--bind", str(self.at), str(self._kept))
        subprocess.run(["umount", "-l", str(self.at)], check=True)

    def come_back(self) -> None:
        _mount("--bind", str(self._kept), str(self.at))
        subprocess.run(["umount", "-l", str(self._kept)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Disk | None]:
    """A Disk in ``folder``; None where this process may not mount."""
    disk = Disk(folder)
    if not _mount("-t", "tmpfs", "-o", f"size={SIZE}", "blendsplat-soak", str(disk.at)):
        yield None
        return
    try:
        yield disk
    finally:
        for place in (disk.at, disk._kept):
            while (
                place.is_mount()
                and not subprocess.run(["umount", "-l", str(place)], stderr=subprocess.DEVNULL).returncode
            ):
                pass


def _mount(*words: str) -> bool:
    try:
        return subprocess.run(["mount", *words], stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False
