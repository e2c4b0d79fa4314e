# SPDX-License-Identifier: Apache-2.0
"""Errors that a user may see: a sentence that names the thing and the way out, a code for machines, and detail."""

from __future__ import annotations

import re

_LONGEST = 1000  # letters of a sentence: what a file or a message holds may be quoted in it, and be of any length


class BlendsplatError(Exception):
    """Base of every expected failure.

    sentence: one plain sentence (what, which file or value, how to mend it); detail: anything longer, for the log.
    ``code`` is stable and travels through the protocol; ``exit_code`` is the command line's.
    """

    code = "error"
    exit_code = 1

    def __init__(self, sentence: str, detail: str = "") -> None:
        self.sentence = plain_sentence(sentence)
        super().__init__(self.sentence)
        self.detail = detail


class InputError(BlendsplatError):
    """The user's file, value or option cannot be used."""

    code = "input"
    exit_code = 2


class VideoError(InputError):
    """A video or image sequence cannot be read."""

    code = "video"


class NoFaceError(InputError):
    """No face (or too few frames with one) was found."""

    code = "no-face"
    exit_code = 3


class FormatError(InputError):
    """A file of ours is damaged, or comes from a newer version."""

    code = "format"


class UnsafeFileError(InputError):
    """A pickle asks for more than plain arrays; it was not executed."""

    code = "unsafe-file"


class StorageError(BlendsplatError):
    """Writing failed (disk full, no permission); what existed before is untouched."""

    code = "storage"
    exit_code = 4


class OutOfMemory(BlendsplatError):
    """There is not enough memory for what was asked; nothing has been changed."""

    code = "memory"
    exit_code = 5


class Cancelled(BlendsplatError):
    """The user cancelled; what was finished so far has been kept."""

    code = "cancelled"
    exit_code = 130

    def __init__(self, sentence: str = "Cancelled.", detail: str = "") -> None:
        super().__init__(sentence, detail)


def plain_sentence(text: str) -> str:
    """``text`` as it can be shown on one line anywhere: without control characters and halves of letters, which file
    names and damaged files bring, and cut in the middle where what it quotes is very long."""
    line = (
        re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", readable(text)).encode("utf-8", "backslashreplace").decode()
    )
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST * 2 // 3]} ... {line[-_LONGEST // 4 :]}"


def readable(text: str) -> str:
    """``text`` with the letters that a system without UTF-8 gives Python as loose bytes, in file names; bytes that are
    no letters stay as they are."""
    return re.sub("[\udc80-\udcff]+", lambda found: _letters(found[0]), text)


def _letters(loose: str) -> str:
    return loose.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
