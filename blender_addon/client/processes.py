# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a process still runs."""

from __future__ import annotations

import os
import sys


def alive(number: str | int) -> bool:
    """A process with this number runs (it may be a later one's of the same number). On Windows always True: there an
    open file cannot be deleted anyway."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
