# SPDX-License-Identifier: Apache-2.0
"""What this engine is and what the machine offers: the answer to ``hello`` and the command ``info``.

It imports torch on purpose: an installation counts as good only when its hello could.
"""

from __future__ import annotations

import platform
from typing import Any

import blendsplat
from blendsplat.jobs.devices import devices, import_torch, kernels
from blendsplat.jobs.kinds import lanes
from blendsplat.serving.protocol import PROTOCOL_VERSION

HEADS = (
    {"name": "human", "title": "Blendsplat's own head", "needs_file": False},
    {"name": "flame", "title": "FLAME 2020 or 2023 (your .pkl)", "needs_file": True},
    {"name": "ict", "title": "ICT-FaceKit (your folder or packed .npz)", "needs_file": True},
)


def describe_engine(log: str | None) -> dict[str, Any]:
    """Versions, devices, kernels, presets, heads, lanes of job kinds.

    Raises BlendsplatError when torch cannot be imported.
    """
    return {
        "protocol": PROTOCOL_VERSION,
        "version": blendsplat.__version__,
        "python": platform.python_version(),
        "torch": str(import_torch().__version__),
        "devices": devices(),
        "kernels": kernels(),
        "log": log,
        "presets": presets(),
        "heads": list(HEADS),
        "lanes": lanes(),
    }


def presets() -> list[dict[str, Any]]:
    """[{name, title, description, live}] of the ways to train; live: a live session can follow it."""
    from blendsplat.systems import list_presets

    return [
        {key: getattr(preset, key) for key in ("name", "title", "description")} | {"live": preset.streams}
        for preset in list_presets()
    ]
