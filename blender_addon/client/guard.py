# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command and ends it, with all that it started, when standard input ends: Blender cancelled, or died.

    python guard.py FOLDER WORD ...

Started as a script by any Python, so it knows nothing of the add-on. FOLDER (temporary files) is deleted in that case,
for a Blender that crashed cannot. The command's own lines and its exit status pass through.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading

_SECONDS = 3.0  # between asking and insisting
CANCELLED = 75  # exit status


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """The command as the head of a group of its own."""
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, creationflags=flags)
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command and its children; returns when it is over."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True)
        process.wait()
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(OSError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS)
    # what it left running in its group, now without a head
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def main(folder: str, words: list[str]) -> int:
    process = start(words)
    cancelled = threading.Event()

    def watch() -> None:
        while os.read(0, 1024):  # nobody writes: it returns at the end of the input
            pass
        cancelled.set()
        end(process)

    threading.Thread(target=watch, daemon=True).start()
    code = process.wait()
    if not cancelled.is_set():
        return code if code >= 0 else 128 - code
    end(process)
    shutil.rmtree(folder, ignore_errors=True)
    return CANCELLED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
