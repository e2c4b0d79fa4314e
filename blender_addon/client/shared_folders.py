# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that this machine and the engine's share under different names: paths go over by these pairs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath, PureWindowsPath

Pair = tuple[str, str]  # (here, there)
_ABSENT = r"does not exist|do not exist|not a file|not a folder|no such file|not an imported clip|holds no tracking"
_CLOSED = r"cannot be (?:opened|read|written)|is missing|permission denied|read-only file system"
WAY_OUT = (
    "Name a folder that both machines share under Shared Folders in the add-on's preferences, as each of them calls "
    "it, and work in it; or copy the file to the same place there (for example with scp)."
)


def to_engine(path: str, pairs: Iterable[Pair]) -> str:
    """A path of this machine as the engine's calls it."""
    return _carried(path, pairs, sys.platform == "win32")


def to_here(path: str, pairs: Iterable[Pair]) -> str:
    """A path of the engine's machine as this one calls it."""
    return _carried(path, [(there, here) for here, there in pairs], False)


def _carried(path: str, pairs: Iterable[Pair], ignore_case: bool) -> str:
    """The longest of the folders that the path lies in decides; without one it stays as it is."""
    best, plain = None, _plain(path, ignore_case)
    for source, target in pairs:
        source, target = source.strip().rstrip("/\\"), target.strip().rstrip("/\\")
        inside = source and target and (plain + "/").startswith(_plain(source, ignore_case) + "/")
        if inside and (best is None or len(source) > len(best[0])):
            best = (source, target)
    return best[1] + path[len(best[0]) :].replace("\\", "/") if best else path


def _plain(path: str, ignore_case: bool) -> str:
    text = path.replace("\\", "/")
    return text.casefold() if ignore_case else text


def missing_in(sentence: str, values: Iterable[object], closed: bool) -> str:
    """The path among the parameters that is absent, as the engine says (``closed``: or cannot be used), or ""."""
    if not re.search(f"{_ABSENT}|{_CLOSED}" if closed else _ABSENT, sentence, re.IGNORECASE):
        return ""
    for path in _paths(values):
        pure = PureWindowsPath(path) if "\\" in path else PurePosixPath(path)
        for place in (pure, *[parent for parent in pure.parents if len(parent.parts) > 1]):
            if re.search(rf"{re.escape(str(place))}(?![\w])", sentence):
                return path
    return ""


def _paths(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str) and (value.startswith("/") or re.match(r"[A-Za-z]:[/\\]|\\\\", value)):
            yield value
        elif isinstance(value, list):
            yield from _paths(value)
