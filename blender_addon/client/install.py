# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the engine's own Python environment: a fitting Python, torch for this machine and the bundled wheel.

It runs in a thread with child processes and knows nothing of bpy. Every step can be repeated: a failed or cancelled
installation is continued by the next one, and only a finished one is marked complete.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .link import HELLO_SECONDS, EngineError, Link, LinkError

# mediapipe's wheels carry their models up to Python 3.12: those come first.
VERSIONS = ((3, 12), (3, 11), (3, 13))
TORCH_INDEX = "https://download.pytorch.org/whl/"
COMPLETE = "complete.json"
# What else than the add-on's preferences says where pip looks and what it may choose.
_PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT", "PIP_NO_INDEX")
_CUDA = (((13, 0), "cu130"), ((12, 8), "cu128"), ((12, 6), "cu126"))


class InstallError(Exception):
    """The installation cannot go on; the text is a sentence with the way out."""


@dataclass
class Installation:
    """One attempt. Fields are read by the panel while the thread works."""

    directory: Path  # of the environment
    wheels: Path  # folder with the bundled engine wheels
    index: str = ""  # the user's package index; "" for the public ones
    own_python: str = sys.executable  # Blender's, the last resort
    state: str = "running"  # running, done, failed, cancelled
    step: str = "Looking for Python"
    fraction: float = 0.0
    lines: list[str] = field(default_factory=list)
    error: str = ""
    _process: subprocess.Popen[str] | None = None
    _cancelled: bool = False
    _choices: dict[tuple[int, int], Path] = field(default_factory=dict)  # which wheel for which Python

    def start(self) -> Installation:
        """Begin in a thread of its own."""
        threading.Thread(target=self.run, name="blendsplat-install", daemon=True).start()
        return self

    def cancel(self) -> None:
        """End the running child process; what was downloaded so far stays in pip's cache."""
        self._cancelled = True
        process = self._process
        if process is not None:
            with contextlib.suppress(OSError):
                process.terminate()

    def run(self) -> None:
        """Every step in order; ``state`` and ``error`` tell how it ended."""
        try:
            self._install()
            self.state, self.step, self.fraction = "done", "Installed", 1.0
        except (InstallError, OSError, LinkError, EngineError) as error:
            self.state = "cancelled" if self._cancelled else "failed"
            self.error = "" if self._cancelled else str(error)

    def _install(self) -> None:
        self._choices = bundled_wheels(self.wheels)
        if not self._choices:
            raise InstallError("This add-on was built without an engine inside; use an existing engine instead.")
        (self.directory / COMPLETE).unlink(missing_ok=True)
        python = python_of(self.directory)
        if not self._fits(python):
            self._enter("Looking for Python", 0.02)
            base = next((found for found in candidates() if self._fits(Path(found))), None) or self._obtain_python()
            self._enter("Making the engine's environment", 0.08)
            if self.directory.exists():
                shutil.rmtree(self.directory)
            self._call([base, "-I", "-m", "venv", str(self.directory)], "Python could not make an environment")
        pip = [
            str(python),
            "-I",
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar",
            "off",
        ]
        self._enter("Downloading torch (large: this takes minutes)", 0.15)
        self._install_torch(pip)
        self._enter("Installing the engine", 0.7)
        wheel = self._choices[version_of(str(python))]  # type: ignore[index]
        self._call([*pip, *self._index_words(), str(wheel)], "The engine could not be installed")
        self._call([*pip, "--force-reinstall", "--no-deps", str(wheel)], "The engine could not be installed")
        self._enter("Saying hello to the engine", 0.95)
        hello = self._verify(python)
        report = {
            "wheel": wheel.name,
            "version": hello.get("version"),
            "python": hello.get("python"),
            "torch": hello.get("torch"),
        }
        (self.directory / COMPLETE).write_text(json.dumps(report, indent=1), encoding="utf-8")

    def _install_torch(self, pip: list[str]) -> None:
        """torch for this machine's graphics card; where its own index cannot be reached, the ordinary one's."""
        if self.index or any(os.environ.get(name) for name in ("PIP_INDEX_URL", "PIP_NO_INDEX", "PIP_CONFIG_FILE")):
            self._call([*pip, *self._index_words(), "torch"], "torch could not be downloaded")
            return
        flavour = torch_flavour()
        try:
            self._call([*pip, "torch", "--index-url", TORCH_INDEX + flavour], "torch could not be downloaded")
        except InstallError:
            if self._cancelled:
                raise
            self.lines.append(f"The index for {flavour} could not be used; trying the ordinary one.")
            self._call([*pip, "torch"], "torch could not be downloaded")

    def _obtain_python(self) -> str:
        """A Python through uv (itself a package), else Blender's own if it fits. Raises InstallError."""
        wanted = next(f"{major}.{minor}" for major, minor in VERSIONS if (major, minor) in self._choices)
        self._enter(f"Obtaining Python {wanted}", 0.04)
        helper = self.directory.with_name(self.directory.name + "-uv")
        maker = next((found for found in [*candidates(any_version=True), self.own_python] if version_of(found)), None)
        try:
            if maker is None:
                raise InstallError("no Python at all")
            if not python_of(helper).exists():
                self._call([maker, "-I", "-m", "venv", str(helper)], "No helper environment")
            self._call(
                [str(python_of(helper)), "-I", "-m", "pip", "install", "uv", *self._index_words()],
                "uv could not be downloaded",
            )
            uv = [str(python_of(helper)), "-I", "-m", "uv", "python"]
            self._call([*uv, "install", wanted], "Python could not be downloaded")
            found = subprocess.run(
                [*uv, "find", wanted], capture_output=True, text=True, timeout=60, env=_environment()
            ).stdout.strip()
            if self._fits(Path(found)):
                return found
        except InstallError as error:
            if self._cancelled:
                raise
            self.lines.append(str(error))
        if self._fits(Path(self.own_python)):
            return self.own_python
        raise InstallError(
            "No Python 3.11 to 3.13 was found or could be downloaded: install 3.12 from python.org and try again."
        )

    def _verify(self, python: Path) -> dict:
        link = Link()
        try:
            link.start(
                [str(python), "-I", "-m", "blendsplat", "serve"], self.directory / "install-check.log", patient=False
            )
            link.wait_ready(HELLO_SECONDS, lambda: self._cancelled)
            return link.hello
        finally:
            link.stop()

    def _fits(self, python: Path) -> bool:
        return version_of(str(python)) in self._choices

    def _index_words(self) -> list[str]:
        return ["--index-url", self.index] if self.index else []

    def _enter(self, step: str, fraction: float) -> None:
        if self._cancelled:
            raise InstallError("Cancelled.")
        self.step, self.fraction = step, fraction
        self.lines.append(step)

    def _call(self, words: list[str], what: str) -> None:
        """Run a command, collecting its lines. Raises InstallError with its last line."""
        if self._cancelled:
            raise InstallError("Cancelled.")
        flags = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace",
            env=_environment(), **flags,
        )  # fmt: skip
        said = []
        for line in self._process.stdout:  # type: ignore[union-attr]
            if line := line.strip():
                said.append(line)
                self.lines.append(line)
        code = self._process.wait()
        self._process = None
        if code != 0:
            raise InstallError(f"{what}: {explain(said, self.index) or f'status {code}'}")


def explain(said: list[str], index: str = "") -> str:
    """Why a command failed, from the lines it said, in plainer words than pip's; "" when it said nothing.

    index: the user's package index, "" for the public ones.
    """
    line = next((line for line in reversed(said) if line.upper().startswith("ERROR")), said[-1] if said else "")
    lower = line.lower()
    if "resolutionimpossible" in lower:
        return _conflict(said, index)
    if "no space left" in lower:
        return "the disk is full; free about 3 GB and try again."
    if "could not find a version" in lower or "no matching distribution" in lower:
        return f"the package index has no build for this Python and system. ({line})"
    if any(word in lower for word in ("connection", "timed out", "name resolution", "network", "proxy", "ssl")):
        return f"the network or the package index could not be reached; try again later. ({line})"
    return line


def _conflict(said: list[str], index: str) -> str:
    """The sentence for libraries of which no versions fit together; pip says why before its last line."""
    begin = next((number for number, line in enumerate(said, 1) if line.startswith("The conflict is caused by")), None)
    ends = ("To fix this", "Additionally", "ERROR")
    why = list(itertools.takewhile(lambda line: not line.startswith(ends), said[begin:] if begin else []))
    settings = [name for name in _PIP_SETTINGS if os.environ.get(name)]
    return (
        f"the package index{f' {index}' if index else ''} has no versions of the engine's libraries that fit together"
        + (f" ({'; '.join(why[:3])})" if why else "")
        + "; choose another Package Index in the add-on's preferences, or change pip's own settings ("
        + ", ".join([*settings, "its configuration file"])
        + "), and try again."
    )


def bundled_wheels(folder: Path) -> dict[tuple[int, int], Path]:
    """The engine's wheel for each Python that it can run on here, from the wheels' names; {} when there is none."""
    system = {"win32": "win", "darwin": "macosx"}.get(sys.platform, "linux")
    found: dict[tuple[int, int], Path] = {}
    for wheel in sorted(folder.glob("blendsplat-*.whl")) if folder.is_dir() else ():
        python, abi, platform = wheel.stem.split("-")[-3:]
        if platform != "any" and system not in platform:
            continue
        for version in VERSIONS:
            exact = f"cp{version[0]}{version[1]}" in python.split(".")
            least = int(python[3:]) <= version[1] if abi == "abi3" and python[:3] == "cp3" else False
            if exact or least or python.startswith("py3"):
                found[version] = wheel
    return found


def python_of(environment: Path) -> Path:
    """The interpreter inside an environment."""
    return environment / "Scripts" / "python.exe" if sys.platform == "win32" else environment / "bin" / "python"


def candidates(any_version: bool = False) -> Iterator[str]:
    """Interpreters on this machine, the best version first: on the PATH, pyenv's, the Windows launcher's."""
    for major, minor in VERSIONS:
        if found := shutil.which(f"python{major}.{minor}"):
            yield found
        for root in (os.environ.get("PYENV_ROOT", ""), str(Path.home() / ".pyenv")):
            if root:
                yield from sorted(map(str, Path(root).glob(f"versions/{major}.{minor}*/bin/python")), reverse=True)
        yield from _launcher(f"-{major}.{minor}")
        for place in ("/usr/local/bin", "/opt/homebrew/bin"):  # a Blender started from a desktop has a short PATH
            if (path := Path(place) / f"python{major}.{minor}").exists():
                yield str(path)
    for name in ("python3", "python"):
        if found := shutil.which(name):
            yield found
    if any_version:
        yield from _launcher("-3")


def _launcher(version: str) -> Iterator[str]:
    if sys.platform != "win32" or not shutil.which("py"):
        return
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        words = ["py", version, "-c", "import sys; print(sys.executable)"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
        if done.returncode == 0:
            yield done.stdout.strip()


def version_of(python: str) -> tuple[int, int] | None:
    """(major, minor) of an interpreter that works and can make environments; None otherwise."""
    if not python or not os.path.exists(python):
        return None
    words = [python, "-I", "-c", "import sys, venv, ensurepip, ctypes; print(*sys.version_info[:2])"]
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, env=_environment())
        major, minor = done.stdout.split()
        return int(major), int(minor)
    return None


def torch_flavour(run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> str:
    """ "cpu" or the newest CUDA build that the driver takes, from what nvidia-smi says."""
    if sys.platform == "darwin":
        return "cpu"
    try:
        text = run(["nvidia-smi"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return "cpu"
    match = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", text)
    if match is None:
        return "cpu"
    driver = (int(match[1]), int(match[2]))
    return next((name for least, name in _CUDA if driver >= least), "cpu")


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONHOME", "PYTHONPATH", "PYTHONEXECUTABLE")
    }
