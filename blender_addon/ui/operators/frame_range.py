# SPDX-License-Identifier: GPL-3.0-or-later
"""The range of frames of operators that go through them: ``frame_start`` and ``frame_end``, else the scene's."""

from __future__ import annotations

import bpy


def take(operator: bpy.types.Operator, scene: bpy.types.Scene) -> None:
    """Give the operator the scene's range, where none is given."""
    for name in ("frame_start", "frame_end"):
        if not operator.properties.is_property_set(name):
            setattr(operator, name, getattr(scene, name))


def problem(operator: bpy.types.Operator) -> str:
    """What is said of a range without a frame, or ""."""
    if operator.frame_end >= operator.frame_start:
        return ""
    return f"There is no frame from {operator.frame_start} to {operator.frame_end}: the end is too early."
