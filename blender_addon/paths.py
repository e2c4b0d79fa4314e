# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths that a .blend keeps: relative to it where the artist's preferences say so, so that a project can be moved."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import bpy

# From 4.5 on a property has to say that it understands paths beginning with //.
RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()


def absolute(text: str, library: bpy.types.Library | None = None) -> Path | None:
    """A path property (of data in a linked library) as an absolute path; None when it is empty."""
    text = text.strip().strip('"')
    return Path(bpy.path.abspath(text, library=library)) if text else None


def home_of(item: bpy.types.Object, name: str) -> bpy.types.Library | None:
    """The library from whose file the path property ``name`` of an object counts; None: from this .blend. A library
    override that was not given a path of its own has its library's."""
    if item.library is not None or item.override_library is None:
        return item.library
    reference = item.override_library.reference
    inherited = reference is not None and getattr(reference.blendsplat, name) == getattr(item.blendsplat, name)
    return reference.library if inherited else None


def kept(path: Path, beside: Path | None = None) -> str:
    """A path as the .blend keeps it; ``beside``: the folder where the .blend is about to be saved."""
    if (beside is not None or bpy.data.filepath) and bpy.context.preferences.filepaths.use_relative_paths:
        return relative(path, beside)
    return str(path)


def relative(path: Path, beside: Path | None = None) -> str:
    """A path beginning with //, where there is one: not from another drive."""
    with contextlib.suppress(ValueError):
        return bpy.path.relpath(str(path), start=str(beside) if beside is not None else None)
    return str(path)


def same(first: Path | None, second: Path | None) -> bool:
    """Both are one file or folder, whatever links and letters it is written with."""
    if first is None or second is None:
        return first is second
    return os.path.normcase(os.path.realpath(first)) == os.path.normcase(os.path.realpath(second))
