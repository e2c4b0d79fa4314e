# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder beside the engine's where an installation works: temporary files, downloads, a lock.

Nothing of an installation lies elsewhere, so a cancelled or crashed one leaves nothing behind once this is emptied.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .pythons import plain_environment

_LOCKED_BYTE = 2**20  # far behind the text: Windows lets nobody read what is locked


class Busy(Exception):
    """Another process works here; the text is a sentence."""


@dataclass(frozen=True)
class Sources:
    """Where an installation gets things from, as in the preferences; "" for the public places."""

    index: str = ""  # of packages
    torch_index: str = ""
    certificate: str = ""  # file with the certificates to trust
    python_mirror: str = ""  # for uv
    torch: str = "AUTO"  # AUTO, CPU, CUDA, INDEX


@dataclass(frozen=True)
class Workshop:
    """The places of one engine's installations. ``engine``: its environment's folder."""

    engine: Path

    @property
    def folder(self) -> Path:
        return self.engine.with_name(self.engine.name + "-install")

    @property
    def temporaries(self) -> Path:
        """Temporary files of all processes that ever worked here."""
        return self.folder / "tmp"

    @property
    def temporary(self) -> Path:
        """This process's own: what a crashed one's guard is still deleting is not touched."""
        return self.temporaries / str(os.getpid())

    @property
    def cache(self) -> Path:
        """pip's downloads, kept after a failure so that the next attempt need not fetch them again."""
        return self.folder / "cache"

    @property
    def helper(self) -> Path:
        """The environment with uv."""
        return self.folder / "uv"

    @property
    def pip_log(self) -> Path:
        return self.temporary / "pip.log"

    @property
    def pythons(self) -> Path:
        """Where uv puts a Python; the engine's environment needs it as long as it lives."""
        return self.engine.with_name(self.engine.name + "-python")

    @property
    def log(self) -> Path:
        """What the last installation said."""
        return self.engine.with_name("install.log")

    def prepare(self) -> None:
        """Empty what an earlier installation left. Raises OSError when the folder cannot be written."""
        for left in (self.temporaries, self.engine.with_name(self.engine.name + "-uv")):  # the latter: of version 0.1.0
            shutil.rmtree(left, ignore_errors=True)
        self.temporary.mkdir(parents=True, exist_ok=True)

    def clear(self, downloads: bool) -> None:
        """Empty it after an installation; ``downloads``: those too."""
        for left in (self.temporaries, *((self.cache, self.helper) if downloads else ())):
            shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other Blenders out. The system takes the lock from a process that dies. Raises Busy, OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "a+", encoding="ascii") as file:
            try:
                _lock(file)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                    yield  # a home on a server that knows no locks
                    return
                file.seek(0)
                who = file.read(20).strip()
                raise Busy(
                    f"Another Blender{f' (process {who})' if who.isdigit() else ''} is installing the engine: wait "
                    "until it has finished, or cancel it there."
                ) from error
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def environment(self, sources: Sources) -> dict[str, str]:
        """What child processes find in their environment: every temporary file and download lies in this folder."""
        own = {name: str(self.temporary) for name in ("TMPDIR", "TEMP", "TMP")}
        own |= {"PIP_CACHE_DIR": str(self.cache), "UV_CACHE_DIR": str(self.temporary / "uv")}
        # uv otherwise writes into the home folder, links commands there and enters Pythons into Windows' registry
        own |= {"UV_PYTHON_INSTALL_DIR": str(self.pythons), "UV_PYTHON_INSTALL_BIN": "0"}
        own |= {"UV_PYTHON_INSTALL_REGISTRY": "0", "PYTHONIOENCODING": "utf-8"}
        if sources.certificate:
            trust = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
            own |= dict.fromkeys(trust, sources.certificate)
        if sources.index:
            own |= {"UV_DEFAULT_INDEX": sources.index, "UV_INDEX_URL": sources.index}
        if sources.python_mirror:
            own["UV_PYTHON_INSTALL_MIRROR"] = sources.python_mirror
        return plain_environment() | own


def _lock(file: IO[str]) -> None:
    """Take the lock of an open file, which ends with it. Raises OSError when somebody else has it."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def size_of(*folders: Path) -> int:
    """Bytes of all files beneath these folders; what vanishes meanwhile is left out."""
    total, waiting = 0, [str(folder) for folder in folders]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total
