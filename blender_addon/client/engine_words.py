# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine command as words: quoted ones stay whole, on Windows and on the far side of ssh, too."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import PurePosixPath, PureWindowsPath

_WITH_VALUE = set("BbcDEeFIiJLlmOopQRSWw")  # ssh's options that another word follows
_SHELL = re.compile(r"[;&|<>$`()\n]")  # what a shell does something with


def split(command: str, windows: bool | None = None) -> list[str]:
    """A command line's words. Raises ValueError for unbalanced quotes."""
    words = (
        _windows_words(command) if (sys.platform == "win32" if windows is None else windows) else shlex.split(command)
    )
    return _for_far_shell(words)


def through_ssh(words: list[str]) -> bool:
    """The command runs on another machine."""
    return bool(words) and _program(words[0]) in ("ssh", "plink", "gcloud")


def _program(word: str) -> str:
    return PureWindowsPath(PurePosixPath(word).name).stem.lower()


def _for_far_shell(words: list[str]) -> list[str]:
    """ssh joins its words with spaces for a shell on the other side: there a word with spaces would fall apart. One
    word alone is a line for that shell, and so is what holds its signs."""
    if not words or _program(words[0]) != "ssh":
        return words
    begin = _after_host(words)
    far = words[begin:]
    if len(far) < 2:
        return words
    return words[:begin] + [
        shlex.quote(word) if re.search(r"\s", word) and not _SHELL.search(word) else word for word in far
    ]


def _after_host(words: list[str]) -> int:
    """Where the far side's words begin."""
    number = 1
    while number < len(words) and words[number].startswith("-") and words[number] != "--":
        letters = words[number][1:]
        taking = next((place for place, letter in enumerate(letters) if letter in _WITH_VALUE), None)
        number += 2 if taking is not None and taking == len(letters) - 1 else 1
    if number < len(words) and words[number] == "--":
        number += 1
    return number + 1


def _windows_words(command: str) -> list[str]:
    """As Windows programs split their command line: double quotes group, backslashes are letters unless they stand
    before a quote. Raises ValueError."""
    words: list[str] = []
    word, inside, begun = "", False, False
    for slashes, quote, blank, other in re.findall(r'(\\*)(?:(")|(\s+)|([^\\"\s]+)|$)', command):
        if quote:
            word += "\\" * (len(slashes) // 2)
            begun = True
            if len(slashes) % 2:
                word += '"'
            else:
                inside = not inside
            continue
        word += slashes
        begun = begun or bool(slashes or other)
        if blank and inside:
            word += blank
        elif blank and begun:
            words.append(word)
            word, begun = "", False
        word += other
    if inside:
        raise ValueError("No closing quotation")
    return [*words, word] if begun else words
