# SPDX-License-Identifier: Apache-2.0
"""What this engine is and what the machine offers, found without importing torch: the first answer must be quick."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import platform
import re
import sys
from pathlib import Path
from typing import Any

import blendsplat
from blendsplat.serving.protocol import PROTOCOL_VERSION

HEADS = (
    {"name": "builtin", "title": "Blendsplat's own head", "needs_file": False},
    {"name": "flame", "title": "FLAME 2020 or 2023 (your .pkl)", "needs_file": True},
    {"name": "ict", "title": "ICT-FaceKit (your folder or packed .npz)", "needs_file": True},
)


def describe_engine(log: str | None) -> dict[str, Any]:
    """The result of ``hello``: versions, devices, kernels, presets, heads."""
    return {
        "protocol": PROTOCOL_VERSION, "version": blendsplat.__version__, "python": platform.python_version(),
        "torch": torch_version(), "devices": devices(), "kernels": kernels(), "log": log, "presets": presets(),
        "heads": list(HEADS),
    }  # fmt: skip


def torch_version() -> str | None:
    """Installed torch, or None."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def kernels() -> dict[str, bool]:
    """Which compiled kernel modules are there."""
    return {name: importlib.util.find_spec(f"blendsplat._kernels_{name}") is not None for name in ("cpu", "cuda")}


def devices() -> list[dict[str, str]]:
    """[{id, name}] of what torch can use: always the processor, and CUDA devices if this torch was built for them."""
    found = [{"id": "cpu", "name": f"{_processor_name()} (processor)"}]
    return found + [{"id": f"cuda:{i}", "name": name} for i, name in enumerate(_cuda_names())]


def presets() -> list[dict[str, str]]:
    """[{name, title, description}] of the ways to train."""
    from blendsplat.training.presets import list_presets

    return [{key: getattr(preset, key) for key in ("name", "title", "description")} for preset in list_presets()]


def resolve_device(device: str) -> str:
    """The device ids as they are, and "auto" as the first CUDA device or else the processor."""
    if device != "auto":
        return device
    return "cuda:0" if _cuda_names() else "cpu"


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _built_for_cuda() -> bool:
    """Whether the installed torch has CUDA, read from its version file."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return False
    try:
        text = (Path(spec.submodule_search_locations[0]) / "version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^cuda\b.*=\s*['\"]", text, re.MULTILINE) is not None


@functools.cache
def _cuda_names() -> tuple[str, ...]:
    """Names of the CUDA devices, asked of the driver itself (cuInit, cuDeviceGetName)."""
    if not _built_for_cuda():
        return ()
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    names = []
    for index in range(count.value):
        handle, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        driver.cuDeviceGet(ctypes.byref(handle), index)
        driver.cuDeviceGetName(name, len(name), handle)
        names.append(name.value.decode("utf-8", "replace"))
    return tuple(names)
