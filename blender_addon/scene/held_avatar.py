# SPDX-License-Identifier: GPL-3.0-or-later
"""How firmly an avatar is held back, which an artist sets and keys on its object, and what holds it."""

from __future__ import annotations

import bpy
import numpy as np

from . import keyframes
from .hold_back import UNKNOWN

PATH = "blendsplat.hold_back"


def strengths(carrier: bpy.types.Object, frames: np.ndarray) -> np.ndarray:
    """The avatar's hold at frames [F], as it is keyed, else as it is set: [F], 0 to 1."""
    curve = next((one for one in keyframes.played(carrier) if one.data_path == PATH and not one.mute), None)
    if curve is None:
        return np.full(len(frames), float(carrier.blendsplat.hold_back))
    return np.clip([curve.evaluate(float(frame)) for frame in frames], 0.0, 1.0)


def sentence(carrier: bpy.types.Object, known: bool) -> str:
    """Why the hold does nothing, or ""."""
    return "" if known or carrier.blendsplat.hold_back == 0 else UNKNOWN
