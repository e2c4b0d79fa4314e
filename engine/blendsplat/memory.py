# SPDX-License-Identifier: Apache-2.0
"""How the process asks its system for memory: large arrays are kept for the next one instead of given back at once.

A tracking step makes and drops arrays of tens of megabytes. The C library of Linux maps each anew from the system,
which clears every page of it: a third of a tracking's processor time. Told to keep them, it reuses them.
"""

from __future__ import annotations

import ctypes
import gc
import sys

# <malloc.h>'s numbers of what mallopt sets
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST = 1 << 30  # bytes; larger arrays still come from the system and go back to it
_AT_REST = (1 << 31) - 1


def keep_large_arrays() -> bool:
    """For programs of our own, before they begin to work -> whether this system's C library can."""
    library = _library()
    if library is None:
        return False
    # Arenas of other threads cannot hold large arrays; one for all can, and threads here ask seldom.
    wanted = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, _AT_REST))
    return all(library.mallopt(number, value) == 1 for number, value in wanted)


def give_back() -> None:
    """Return what is kept to the system; for the end of long work. Some of it (a trainer and its parts, which know each
    other) Python frees only now and then: until it does, several hundred megabytes a training."""
    gc.collect()
    library = _library()
    if library is not None:
        library.malloc_trim(0)


def _library() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
