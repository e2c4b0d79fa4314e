# SPDX-License-Identifier: Apache-2.0
"""Where the engine's log lies: one file per process in the platform's log folder, the newest few are kept.

The command line and the server share it; its path is told to the user when something unexpected happens.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import logging.handlers
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

from blendsplat.folders import log_folder

_KEPT_FILES = 10
_MAX_BYTES = 5 * 2**20
_handlers: list[logging.Handler] = []  # ours, replaced when a log is started anew
_crash_file: TextIO | None = None  # faulthandler needs its file open as long as the process lives


def start_log(name: str, to_stderr: bool, level: int = logging.INFO) -> Path | None:
    """Log into a new file ``name-DATE-PID.log`` (and standard error), crashes of native code included.

    Returns the file's path, or None when no folder can be written; logging never stops the work.
    """
    root = logging.getLogger()
    root.setLevel(level)
    while _handlers:
        root.removeHandler(old := _handlers.pop())
        old.close()
    layout = logging.Formatter("%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s")
    if to_stderr:
        stream = logging.StreamHandler(sys.stderr)
        _add(root, stream, layout)
    for folder in (log_folder, lambda: Path(tempfile.gettempdir()) / "blendsplat-logs"):
        try:
            return _open_log(folder(), name, root, layout)
        except (OSError, RuntimeError):  # RuntimeError: there is no home folder
            continue
    return None


def _add(root: logging.Logger, handler: logging.Handler, layout: logging.Formatter) -> None:
    handler.setFormatter(layout)
    root.addHandler(handler)
    _handlers.append(handler)


def _open_log(folder: Path, name: str, root: logging.Logger, layout: logging.Formatter) -> Path:
    global _crash_file
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=_MAX_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace"
    )
    _add(root, handler, layout)
    _crash_file = path.with_suffix(".crash").open("w", encoding="utf-8")
    faulthandler.enable(_crash_file)
    _prune(folder, name)
    return path


def _prune(folder: Path, name: str) -> None:
    for pattern in (f"{name}-*.log*", f"{name}-*.crash"):
        files = sorted(folder.glob(pattern), key=lambda path: path.name, reverse=True)
        for old in files[_KEPT_FILES:]:
            with contextlib.suppress(OSError):  # Windows refuses while another engine holds it
                old.unlink()
