# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths that a .blend keeps: relative to it where the artist's preferences say so, so that a project can be moved."""

from __future__ import annotations

import contextlib
from pathlib import Path

import bpy

# From 4.5 on a property has to say that it understands paths beginning with //.
RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()


def absolute(text: str) -> Path | None:
    """A path property as an absolute path; None when it is empty."""
    text = text.strip().strip('"')
    return Path(bpy.path.abspath(text)) if text else None


def kept(path: Path) -> str:
    """A path as the .blend keeps it."""
    if bpy.data.filepath and bpy.context.preferences.filepaths.use_relative_paths:
        with contextlib.suppress(ValueError):  # on another drive
            return bpy.path.relpath(str(path))
    return str(path)
