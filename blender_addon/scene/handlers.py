# SPDX-License-Identifier: GPL-3.0-or-later
"""Handlers of Blender's events (bpy.app.handlers), put in once and taken out again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import bpy

Handlers = Sequence[tuple[str, Callable]]  # (name in bpy.app.handlers, function)


def add(handlers: Handlers) -> None:
    """Put each function in, unless it is there."""
    for name, function in handlers:
        present = getattr(bpy.app.handlers, name)
        if function not in present:
            present.append(function)


def remove(handlers: Handlers) -> None:
    """Take each function out, where it is there."""
    for name, function in handlers:
        present = getattr(bpy.app.handlers, name)
        if function in present:
            present.remove(function)
