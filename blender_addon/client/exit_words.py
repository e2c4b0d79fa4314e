# SPDX-License-Identifier: GPL-3.0-or-later
"""What the end of an engine's process means, with the way out: from its status and its log's last lines."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# What ssh says last, and what to do then. It cannot ask here: it has no terminal.
_SSH = (
    (
        "identification has changed",
        "That machine shows another key than the one known here. If it was set up anew, forget the old key in a "
        "terminal (ssh-keygen -R and the machine's name), connect once by hand and accept the new one.",
    ),
    (
        "host key verification failed",
        "This computer does not know that machine yet: connect once in a terminal (ssh and the machine's name) and "
        "accept its key.",
    ),
    (
        "permission denied",
        "ssh cannot ask for a password or a passphrase here: set up a key for that machine, and unlock it before with "
        "ssh-add.",
    ),
    ("could not resolve hostname", "Check the machine's name in the engine command."),
    ("connection refused", "Is that machine on, and does it take ssh connections?"),
    ("timed out", "Is that machine on, and may this network reach it?"),
    ("no route to host", "Is that machine on, and may this network reach it?"),
)


def tail(path: Path | None, lines: int = 12) -> str:
    """The last lines of a log file; "" when it cannot be read."""
    try:
        with open(path, "rb") as file:  # type: ignore[arg-type]
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 8192))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except (OSError, TypeError):
        return ""


def last_line(text: str) -> str:
    """The last line that says anything, not too long."""
    return next((line.strip()[:200] for line in reversed(text.splitlines()) if line.strip()), "")


def exit_sentence(code: int, log_tail: str = "") -> str:
    """What the exit status of an engine process means, with the way out."""
    if "No module named" in log_tail and "blendsplat" in log_tail.rsplit("No module named", 1)[-1][:40]:
        return "That Python has no Blendsplat engine installed: install the engine, or choose another command."
    if code in (137, -9, getattr(signal, "SIGKILL", 9) + 128):
        return "The engine was ended by the system, often because memory ran out."
    if code in (-15, 143, -2, 130):
        return "The engine was ended from outside."
    if code < 0 or code in (134, 136, 139) or code > 0xC0000000:
        return f"The engine crashed (status {code}). The log tells more."
    last = last_line(log_tail)
    if code == 127:
        return _with("The engine command was not found on that machine", last)
    if code == 126:
        return _with("The engine command may not be executed; check its permissions", last)
    if code == 255:
        return _of_ssh(log_tail, last)
    if code == 0:
        return "The engine ended; it starts again when it is needed."
    return _with(f"The engine ended with status {code}", last)


def _of_ssh(log_tail: str, last: str) -> str:
    if not last:
        return "The connection to the engine's machine was lost or refused (ssh)."
    said = log_tail.lower()
    what = next(
        (sentence for words, sentence in _SSH if words in (said if words.startswith("ident") else last.lower())), ""
    )
    return f"The connection to the engine's machine was lost or refused. ssh says: {last.rstrip('.')}. {what}".strip()


def _with(sentence: str, last: str) -> str:
    return f"{sentence}: {last}" if last else f"{sentence}."
