# SPDX-License-Identifier: Apache-2.0
"""Names of files and folders that are made out of other names: of videos, photographs, takes, and what a scene says.

Every system has to hold them, and another name's file must not be hit: Windows keeps some words for devices, drops dots
and spaces at the end and takes what follows a colon for a stream inside of a file; few systems hold 256 bytes.
blender_addon/file_names.py is the same, as the add-on stands alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import unicodedata
from pathlib import Path

LONGEST = 160  # bytes of UTF-8, so that endings and numbers can follow
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udc7f\udd00-\udfff]')  # not the letters that stand for bytes


def portable_name(name: str) -> str:
    """``name`` where every system holds it, as it is; else one close to it, which ends in a few letters that no other
    name gets: "Take: 1" and "Take? 1" stay two."""
    kept = _shortened(held_by_windows(name), LONGEST).rstrip(". ")
    if kept == name and kept:
        return name
    told = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{_shortened(kept, LONGEST - 7)}-{told}"


def held_by_windows(name: str) -> str:
    """``name`` without what Windows refuses or reads otherwise, of any length."""
    kept = _REFUSED.sub("_", name).rstrip(". ")
    return f"_{kept}" if _DEVICES.fullmatch(kept) else kept


def name_in(folder: Path, name: str, ending: str = "") -> str:
    """The name that a thing called ``name`` has in ``folder``: what is there from earlier keeps its name (to the
    letter: asking the system would find "take" for "Take." on some), what is new gets a portable one."""
    portable = portable_name(name)
    if portable != name and name:
        with contextlib.suppress(OSError):
            return name if name + ending in os.listdir(folder) else portable
    return portable


def folded(name: str) -> str:
    """Equal for names that some file system takes for the same: of other case, or of accents put together otherwise."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _shortened(name: str, most: int) -> str:
    """The longest beginning that has at most ``most`` bytes."""
    while len(name.encode("utf-8", "surrogateescape")) > most:
        name = name[:-1]
    return name
