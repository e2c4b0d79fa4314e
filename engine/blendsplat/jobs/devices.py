# SPDX-License-Identifier: Apache-2.0
"""What this machine can compute on: its processors, the compiled kernels that load here, and which one "auto" means.

Loading torch takes a second and a half, so it is asked only where it may know of a graphics card.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import platform
import runpy
import sys
from pathlib import Path
from typing import Any

from blendsplat.errors import BlendsplatError, InputError

_torch_threads: int | None = None  # torch's own choice, known when it is first loaded


def kernels() -> dict[str, bool]:
    """Which compiled kernel modules can be used here."""
    return {"cpu": _importable("_kernels_cpu"), "cuda": _has_cuda() and _importable("_kernels_cuda")}


def devices() -> list[dict[str, str]]:
    """[{id, name}]: always the processor, and the CUDA devices that torch sees."""
    found = [{"id": "cpu", "name": processor_name()}]
    if _has_cuda():
        cuda = import_torch().cuda
        found += [{"id": f"cuda:{i}", "name": str(cuda.get_device_name(i))} for i in range(cuda.device_count())]
    return found


def resolve_device(device: str) -> str:
    """The device's id; "auto" is the first CUDA device or else the processor. Raises InputError if it is not there."""
    if device == "auto":
        return "cuda:0" if _has_cuda() and kernels()["cuda"] else "cpu"
    known = [entry["id"] for entry in devices()]
    full = "cuda:0" if device == "cuda" else device
    if full not in known:
        raise InputError(f"There is no device {device!r} on this machine; it has {', '.join(known)}.")
    return full


def import_torch() -> Any:
    """Raises BlendsplatError where it cannot be loaded."""
    global _torch_threads
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:  # OSError: one of its libraries is missing
        raise BlendsplatError(f"PyTorch cannot be loaded ({error}); install the engine again.", repr(error)) from error
    _torch_threads = _torch_threads or torch.get_num_threads()
    return torch


def torch_version() -> str:
    """Of the torch that is installed, which is not loaded for it. Raises BlendsplatError where there is none."""
    return str(_torch_build()["__version__"])


def _torch_build() -> dict[str, Any]:
    """What torch's version.py says: __version__, cuda, hip."""
    spec = None if "torch" in sys.modules and sys.modules["torch"] is None else importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise BlendsplatError("PyTorch is not installed in the engine's Python; install the engine again.")
    try:
        return runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    except OSError as error:
        raise BlendsplatError("PyTorch is damaged; install the engine again.", repr(error)) from error


def use_all_threads() -> None:
    """Let torch compute on as many processors in this thread as the process may use; nothing while it is not loaded.

    A thread otherwise keeps for ever what any other had set when it first computed: during a fit, a single one.
    """
    if _torch_threads:
        import_torch().set_num_threads(_torch_threads)


def _has_cuda() -> bool:
    return _may_have_cuda() and bool(import_torch().cuda.is_available())


def _may_have_cuda() -> bool:
    """False where torch is built for processors only, or the card's driver is not here."""
    build = _torch_build()
    if build.get("hip"):
        return True
    if not build.get("cuda"):
        return False
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


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
