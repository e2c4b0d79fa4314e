# SPDX-License-Identifier: Apache-2.0
"""What this engine is and what the machine offers: the answer to ``hello`` and the command ``info``.

It imports torch on purpose: an installation counts as good only when its hello could.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
from pathlib import Path
from typing import Any

import blendsplat
from blendsplat.errors import BlendsplatError, InputError
from blendsplat.serving.protocol import PROTOCOL_VERSION

HEADS = (
    {"name": "builtin", "title": "Blendsplat's own head", "needs_file": False},
    {"name": "flame", "title": "FLAME 2020 or 2023 (your .pkl)", "needs_file": True},
    {"name": "ict", "title": "ICT-FaceKit (your folder or packed .npz)", "needs_file": True},
)


def describe_engine(log: str | None) -> dict[str, Any]:
    """Versions, devices, kernels, presets, heads. Raises BlendsplatError when torch cannot be imported."""
    return {
        "protocol": PROTOCOL_VERSION,
        "version": blendsplat.__version__,
        "python": platform.python_version(),
        "torch": str(_torch().__version__),
        "devices": devices(),
        "kernels": kernels(),
        "log": log,
        "presets": presets(),
        "heads": list(HEADS),
    }


def kernels() -> dict[str, bool]:
    """Which compiled kernel modules can be used here."""
    return {"cpu": _importable("_kernels_cpu"), "cuda": _has_cuda() and _importable("_kernels_cuda")}


def devices() -> list[dict[str, str]]:
    """[{id, name}]: always the processor, and the CUDA devices that torch sees."""
    found = [{"id": "cpu", "name": processor_name()}]
    if _has_cuda():
        cuda = _torch().cuda
        found += [{"id": f"cuda:{i}", "name": str(cuda.get_device_name(i))} for i in range(cuda.device_count())]
    return found


def presets() -> list[dict[str, str]]:
    """[{name, title, description}] of the ways to train."""
    from blendsplat.training.presets import list_presets

    return [{key: getattr(preset, key) for key in ("name", "title", "description")} for preset in list_presets()]


def resolve_device(device: str) -> str:
    """The device's id; "auto" is the first CUDA device or else the processor. Raises InputError if it is not there."""
    if device == "auto":
        return "cuda:0" if _has_cuda() and kernels()["cuda"] else "cpu"
    known = [entry["id"] for entry in devices()]
    full = "cuda:0" if device == "cuda" else device
    if full not in known:
        raise InputError(f"There is no device {device!r} on this machine; it has {', '.join(known)}.")
    return full


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except (ImportError, OSError) as error:  # OSError: one of its libraries is missing
        raise BlendsplatError(f"PyTorch cannot be loaded ({error}); install the engine again.", repr(error)) from error


def _has_cuda() -> bool:
    return bool(_torch().cuda.is_available())


def _importable(module: str) -> bool:
    name = f"blendsplat.{module}"
    if importlib.util.find_spec(name) is None:
        return False
    try:
        importlib.import_module(name)
    except ImportError:  # built for another Python or processor
        return False
    return True


def processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
