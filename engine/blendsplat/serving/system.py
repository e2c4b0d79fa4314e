# SPDX-License-Identifier: Apache-2.0
"""What this engine is and what the machine offers: the answer to ``hello`` and the command ``info``.

``hello`` imports torch on purpose: an installation counts as good only when its hello could. ``info`` does without.
"""

from __future__ import annotations

import platform
from typing import Any

import blendsplat
from blendsplat.jobs.devices import devices, import_torch, kernels, torch_version
from blendsplat.jobs.kinds import lanes
from blendsplat.serving.protocol import PROTOCOL_VERSION
from blendsplat.training.presets import preset_values, shipped_presets

HEADS = (
    {"name": "human", "title": "Blendsplat's own head", "needs_file": False},
    {"name": "flame", "title": "FLAME 2020 or 2023 (your .pkl)", "needs_file": True},
    {"name": "ict", "title": "ICT-FaceKit (your folder or packed .npz)", "needs_file": True},
)


def describe_engine(log: str | None) -> dict[str, Any]:
    """Versions, devices, kernels, presets, heads, lanes of job kinds.

    Raises BlendsplatError when torch cannot be imported.
    """
    import_torch()
    return describe_installation(log) | {"presets": presets()}


def describe_installation(log: str | None) -> dict[str, Any]:
    """The same without loading torch; the presets are not validated, so it is not said which a live session can follow.

    Raises BlendsplatError when torch is not installed.
    """
    told = [preset_values(path) for path in shipped_presets()]
    return {
        "protocol": PROTOCOL_VERSION,
        "version": blendsplat.__version__,
        "python": platform.python_version(),
        "torch": torch_version(),
        "devices": devices(),
        "kernels": kernels(),
        "log": log,
        "presets": [{key: values.get(key, "") for key in ("name", "title", "description")} for values in told],
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
