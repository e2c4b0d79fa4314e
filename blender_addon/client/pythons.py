# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Pythons the engine's bundled wheels run on, and which of those this machine has."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

Version = tuple[int, int]
# mediapipe's wheels carry their models up to Python 3.12: those come first.
VERSIONS: tuple[Version, ...] = ((3, 12), (3, 11), (3, 13))
PLACES = ("/usr/local/bin", "/opt/homebrew/bin")  # a Blender started from a desktop has a short PATH
_MACHINES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}  # other names of the same processors


def bundled_wheels(folder: Path) -> dict[Version, Path]:
    """The engine's wheel for each Python that it can run on here, from the wheels' names; {} when there is none."""
    found: dict[Version, Path] = {}
    for wheel in sorted(folder.glob("blendsplat-*.whl")) if folder.is_dir() else ():
        python, abi, system = wheel.stem.split("-")[-3:]
        if not _is_for_this_machine(system):
            continue
        for version in VERSIONS:
            exact = f"cp{version[0]}{version[1]}" in python.split(".")
            least = int(python[3:]) <= version[1] if abi == "abi3" and python[:3] == "cp3" else False
            if exact or least or python.startswith("py3"):
                found[version] = wheel
    return found


def _is_for_this_machine(tag: str) -> bool:
    """Whether a wheel's platform tag names this system and this processor."""
    if tag == "any":
        return True
    system = {"win32": "win", "darwin": "macosx"}.get(sys.platform, "linux")
    machine = platform.machine().lower()
    machine = _MACHINES.get(machine, machine)
    named = tag.replace("amd64", "x86_64").replace("arm64", "aarch64")
    return system in tag and (machine in named or "universal2" in tag)


def version_of_wheel(wheel: Path) -> str:
    """The engine's version in a wheel's name: 0.1.0."""
    return wheel.name.split("-")[1]


def in_words(versions: Iterable[Version]) -> str:
    """Versions as a sentence names them, the best first: 3.12, 3.11 or 3.13."""
    names = [f"{major}.{minor}" for major, minor in VERSIONS if (major, minor) in set(versions)]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def python_of(environment: Path) -> Path:
    """The interpreter inside an environment."""
    return environment / "Scripts" / "python.exe" if sys.platform == "win32" else environment / "bin" / "python"


def candidates(versions: Iterable[Version]) -> Iterator[str]:
    """Interpreters on this machine that go by the name of these versions, the best version first: on the PATH, pyenv's,
    the Windows launcher's; then what is called python without a number."""
    wanted = set(versions)
    for major, minor in (version for version in VERSIONS if version in wanted):
        if found := shutil.which(f"python{major}.{minor}"):
            yield found
        for root in (os.environ.get("PYENV_ROOT", ""), str(Path.home() / ".pyenv")):
            if root:
                yield from sorted(map(str, Path(root).glob(f"versions/{major}.{minor}*/bin/python")), reverse=True)
        yield from _launcher(f"-{major}.{minor}")
        for place in PLACES:
            if (path := Path(place) / f"python{major}.{minor}").exists():
                yield str(path)
    yield from any_python()


def any_python() -> Iterator[str]:
    """Interpreters of whatever version: good enough to fetch another one with."""
    for name in ("python3", "python"):
        if found := shutil.which(name):
            yield found
    yield from _launcher("-3")


def _launcher(version: str) -> Iterator[str]:
    if sys.platform != "win32" or not shutil.which("py"):
        return
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        words = [
            "py",
            version,
            "-X",
            "utf8",
            "-c",
            "import sys; print(sys.executable)",
        ]  # a user's name may have umlauts
        done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace", timeout=20)
        if done.returncode == 0:
            yield done.stdout.strip()


def version_of(python: str) -> Version | None:
    """(major, minor) of an interpreter that works and can make environments; None otherwise."""
    if not python or not os.path.exists(python):
        return None
    words = [python, "-I", "-c", "import sys, venv, ensurepip, ctypes; print(*sys.version_info[:2])"]
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(words, capture_output=True, encoding="ascii", timeout=20, env=plain_environment())
        major, minor = done.stdout.split()
        return int(major), int(minor)
    return None


def plain_environment(without_path: bool = True) -> dict[str, str]:
    """Blender's environment without what would make another Python load Blender's own library; ``without_path``: nor
    what PYTHONPATH names."""
    left_out = {"PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"} | ({"PYTHONPATH"} if without_path else set())
    return {name: value for name, value in os.environ.items() if name not in left_out}
