# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of a performance on what the head does already: the other part is read off its keys, so that blendshapes are
keyed for the two together."""

from __future__ import annotations

from dataclasses import replace

import bpy
import numpy as np

from ..formats import Performance
from ..space import matrix_to_rotvec
from . import forecast
from .performance_parts import BOTH, FACE, HEAD, MOVES

_ARRAYS = {"root": "root_pose", "neck": "neck_pose", "jaw": "jaw_pose", "eyes": "eyes_pose"}  # rotations


def merged(head: bpy.types.Object, performance: Performance, start: float, fps: float, part: str) -> Performance:
    """The performance with all that is not of ``part`` as the head's own keys say in its valid rows."""
    if part == BOTH:
        return performance
    rows = performance.valid_rows
    states = list(forecast.head_states(head, (start + performance.timestamps[rows] * fps).tolist()))
    arrays = {}
    for name in MOVES[HEAD if part == FACE else FACE]:
        values = np.stack([getattr(state, name)[0] for state in states])
        target = _ARRAYS.get(name, name)
        changed = np.array(performance.arrays[target], np.float32)
        changed[rows] = matrix_to_rotvec(values) if name in _ARRAYS else values
        arrays[target] = changed
    return replace(performance, arrays=performance.arrays | arrays)
