# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that appear whole or not at all, in any number of steps: written beside their place, then moved there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what becomes ``path`` when the block ends well; whatever goes wrong, yesterday's file stays.

    Its ending is that of ``path``, because writers look at it. Raises OSError.
    """
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
