# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the engine's own Python environment: a fitting Python, torch for this machine and the bundled wheel.

It runs in a thread with child processes and knows nothing of bpy. Every step can be repeated: a failed or cancelled
installation is continued by the next one, and only a finished one is marked complete. Updating is the same.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from . import pip_words, pythons, torch_builds
from .link import HELLO_SECONDS, EngineError, Link, LinkError
from .pythons import Version, bundled_wheels, candidates, python_of, version_of
from .workshop import Busy, Sources, Workshop, size_of

COMPLETE = "complete.json"
_GUARD = Path(__file__).with_name("guard.py")
_LIBRARIES = int(2.5 * torch_builds.GIGABYTE)  # what the engine's other libraries move over the disk; an estimate
_MEASURED = 1.0  # seconds between two looks at how much has come


class InstallError(Exception):
    """The installation cannot go on; the text is a sentence with the way out, ``kind`` pip_words' cause."""

    def __init__(self, sentence: str, kind: str = "") -> None:
        super().__init__(sentence)
        self.kind = kind


@dataclass
class Installation:
    """One attempt. Fields are read by the panel while the thread works."""

    directory: Path  # of the environment
    wheels: Path  # folder with the bundled engine wheels
    sources: Sources = field(default_factory=Sources)
    own_python: str = sys.executable  # Blender's, the last resort
    state: str = "running"  # running, done, failed, cancelled
    step: str = "Looking for Python"
    fraction: float = 0.0
    come: int = 0  # bytes that this step has brought so far
    lines: list[str] = field(default_factory=list)
    error: str = ""
    _process: subprocess.Popen[str] | None = None
    _cancelled: bool = False
    _choices: dict[Version, Path] = field(default_factory=dict)  # which wheel for which Python
    _log: IO[str] | None = None

    @property
    def workshop(self) -> Workshop:
        return Workshop(self.directory)

    def start(self) -> Installation:
        """Begin in a thread of its own."""
        threading.Thread(target=self.run, name="blendsplat-install", daemon=True).start()
        return self

    def cancel(self) -> None:
        """End the running child process and all that it started; their temporary files and downloads go."""
        self._cancelled = True
        self._let_go(self._process)

    @property
    def cancelling(self) -> bool:
        return self._cancelled and self.state == "running"

    def run(self) -> None:
        """Every step in order; ``state`` and ``error`` tell how it ended."""
        state = "failed"
        try:
            with self.workshop.locked():
                try:
                    self._install()
                    state, self.step, self.fraction = "done", "Installed", 1.0
                finally:
                    self.workshop.clear(downloads=state == "done" or self._cancelled)
        except (InstallError, Busy, OSError, LinkError, EngineError) as error:
            state = "cancelled" if self._cancelled else "failed"
            self.error = "" if self._cancelled else str(error)
            self._say(self.error or "Cancelled.")
        finally:
            if self._log is not None:
                self._log.close()
                self._log = None
        self.state = state  # last: whoever sees it finds all the rest

    def _install(self) -> None:
        self.workshop.prepare()
        self._log = open(self.workshop.log, "w", encoding="utf-8", errors="replace")  # noqa: SIM115 closed by run
        self._choices = bundled_wheels(self.wheels)
        if not self._choices:
            raise InstallError("This add-on was built without an engine inside; use an existing engine instead.")
        if self.sources.certificate and not Path(self.sources.certificate).is_file():
            raise InstallError(
                f"The certificate file {self.sources.certificate} does not exist: choose another in the add-on's "
                "preferences, or none."
            )
        (self.directory / COMPLETE).unlink(missing_ok=True)
        python = python_of(self.directory)
        if not self._fits(str(python)):
            self._enter("Looking for Python", 0.02)
            base = next(filter(self._fits, candidates(self._choices)), None) or self._obtain_python()
            self._enter("Making the engine's environment", 0.08)
            if self.directory.exists():
                shutil.rmtree(self.directory)
            self._call([base, "-I", "-m", "venv", str(self.directory)], "Python could not make an environment")
        pip = self._pip(python)
        build = self._install_torch(pip)
        self._enter("Installing the engine", 0.7)
        wheel = self._choices[version_of(str(python))]  # type: ignore[index]
        with self._growing(0.95, _LIBRARIES):
            # torch is named again, so that no library can bring another build of it
            words = [*pip, *self._index_words(), str(wheel), build.words[0]]
            said = self._call(words, "The engine could not be installed")
        if not any(line.startswith("Successfully installed") and "blendsplat-" in line for line in said):
            # an engine of this version was there: a broken one, or of another build
            self._call([*pip, "--force-reinstall", "--no-deps", str(wheel)], "The engine could not be installed")
        self._enter("Saying hello to the engine", 0.95)
        hello = self._verify(python)
        report = {name: hello.get(name) for name in ("version", "python", "torch")}
        report |= {"wheel": wheel.name, "torch_from": build.index}
        (self.directory / COMPLETE).write_text(json.dumps(report, indent=1), encoding="utf-8")

    def _install_torch(self, pip: list[str]) -> torch_builds.Build:
        """torch's tested version; no other build in its place. Raises InstallError."""
        tried = torch_builds.builds(self.sources.torch, self.sources.index, self.sources.torch_index)
        for number, build in enumerate(tried, 1):
            self._enter("Downloading torch", 0.15)
            self._say(torch_builds.in_words(build))
            try:
                with self._growing(0.7, build.moved):
                    self._call([*pip, *build.words], "torch could not be downloaded")
                return build
            except InstallError as error:
                if self._cancelled:
                    raise
                if error.kind != pip_words.NO_BUILD or number == len(tried):
                    raise InstallError(f"{error}{torch_builds.way_out(build)}", error.kind) from error
                self._say(f"{build.index} has no torch {torch_builds.VERSION}; the build for older drivers is tried.")
        raise InstallError("There is no build of torch to try.")

    def _obtain_python(self) -> str:
        """A Python through uv (itself a package), else Blender's own if it fits. Raises InstallError."""
        fitting = pythons.in_words(self._choices)
        wanted = fitting.split(",")[0].split(" ")[0]
        self._enter(f"Obtaining Python {wanted}", 0.04)
        maker = next((found for found in [*pythons.any_python(), self.own_python] if version_of(found)), None)
        why = "there is no other Python to fetch it with."
        if maker is not None:
            try:
                return self._through_uv(maker, wanted)
            except InstallError as error:
                if self._cancelled:
                    raise
                why = str(error)
                self._say(why)
        if self._fits(self.own_python):
            return self.own_python
        raise InstallError(
            f"The engine needs Python {fitting}. This computer has none that fits, and none could be fetched: {why} "
            f"Install Python {wanted} from python.org and try again; a company's copies are given as Python Mirror in "
            "the add-on's preferences."
        )

    def _through_uv(self, maker: str, wanted: str) -> str:
        helper = python_of(self.workshop.helper)
        if version_of(str(helper)) is None:
            self._call([maker, "-I", "-m", "venv", "--clear", str(self.workshop.helper)], "No helper environment")
        self._call([*self._pip(helper), "uv", *self._index_words()], "uv could not be downloaded")
        uv = [str(helper), "-I", "-m", "uv", "python"]
        self._call([*uv, "install", wanted], "Python could not be downloaded")
        found = self._call([*uv, "find", "--managed-python", wanted], "The downloaded Python is not there")
        if found and self._fits(found[-1]):
            return found[-1]
        raise InstallError(f"The Python {wanted} that was downloaded does not work here.")

    def _verify(self, python: Path) -> dict:
        link = Link()
        try:
            link.start(
                [str(python), "-I", "-m", "blendsplat", "serve"], self.workshop.temporary / "check.log", patient=False
            )
            link.wait_ready(HELLO_SECONDS, lambda: self._cancelled)
            return link.hello
        finally:
            link.stop()

    def _fits(self, python: str) -> bool:
        return version_of(python) in self._choices

    def _pip(self, python: Path) -> list[str]:
        own = [
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar",
            "off",
            "--log",
            str(self.workshop.pip_log),
        ]
        return [str(python), "-I", "-m", "pip", "install", *own]

    def _index_words(self) -> list[str]:
        return ["--index-url", self.sources.index] if self.sources.index else []

    def _say(self, line: str) -> None:
        self.lines.append(line)
        if self._log is not None:
            with contextlib.suppress(OSError, ValueError):  # a full disk: the panel still has the line
                self._log.write(line + "\n")
                self._log.flush()

    def _enter(self, step: str, fraction: float) -> None:
        if self._cancelled:
            raise InstallError("Cancelled.")
        self.step, self.fraction, self.come = step, max(fraction, self.fraction), 0
        self._say(step)

    @contextlib.contextmanager
    def _growing(self, end: float, expected: int) -> Iterator[None]:
        """Move the bar from where it is towards ``end`` with the bytes that come, ``expected`` more or less."""
        over, begin = threading.Event(), self.fraction
        places = (self.workshop.temporary, self.directory)
        before = size_of(*places)

        def measure() -> None:
            while not over.wait(_MEASURED):
                self.come = max(self.come, size_of(*places) - before)
                # nine tenths of the way when all that was expected has come, slower from there: never full too early
                self.fraction = begin + (end - begin) * (1 - math.exp(-2.3 * self.come / expected))

        measuring = threading.Thread(target=measure, name="blendsplat-install-size", daemon=True)
        measuring.start()
        try:
            yield
        finally:
            over.set()
            measuring.join()

    def _call(self, words: list[str], what: str) -> list[str]:
        """Run a command (of a Python's) and return its lines. Raises InstallError with the cause in words."""
        if self._cancelled:
            raise InstallError("Cancelled.")
        self.workshop.pip_log.unlink(missing_ok=True)
        self._process = process = subprocess.Popen(
            [words[0], "-I", str(_GUARD), str(self.workshop.temporary), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
            errors="replace", env=self.workshop.environment(self.sources), **_apart(),
        )  # fmt: skip
        if self._cancelled:  # it was pressed while the process began
            self._let_go(process)
        said = []
        for line in process.stdout:  # type: ignore[union-attr]
            if line := line.strip():
                said.append(line)
                self._say(line)
        code = process.wait()
        self._process = None
        self._let_go(process)
        if self._cancelled:
            raise InstallError("Cancelled.")
        if code != 0:
            pages = pip_words.unread_pages(self._pip_said())
            why = pip_words.cause(said, self.sources.index, pages)
            for page in pages:
                self._say(page)
            raise InstallError(f"{what}: {why.sentence or f'status {code}'}", why.kind)
        return said

    def _pip_said(self) -> Iterator[str]:
        """The lines of pip's own log, which tells more than pip does."""
        with contextlib.suppress(OSError), open(self.workshop.pip_log, encoding="utf-8", errors="replace") as file:
            yield from file

    @staticmethod
    def _let_go(process: subprocess.Popen[str] | None) -> None:
        """End the guard's input: it then ends what it runs."""
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                process.stdin.close()


def _apart() -> dict:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}  # Ctrl-C in Blender's terminal is not for the installation


def update_for(installed: dict, wheels: Path) -> tuple[str, str] | None:
    """(installed version, bundled version) of the engine where they differ; None when nothing is to be updated.

    installed: what complete.json says, {} without an engine.
    """
    have, here = (
        str(installed.get("version") or ""),
        {pythons.version_of_wheel(w) for w in bundled_wheels(wheels).values()},
    )
    return (have, sorted(here)[-1]) if have and here and have not in here else None


def remove(directory: Path) -> int:
    """Delete the engine, its Python and what installations left; returns the bytes set free. Blocks: for a thread.

    Raises Busy while a Blender installs, OSError when the engine's folder cannot be moved away (it runs).
    """
    workshop = Workshop(directory)
    freed = 0
    with workshop.locked():
        (directory / COMPLETE).unlink(missing_ok=True)
        for place in (directory, workshop.pythons, workshop.temporaries, workshop.cache, workshop.helper):
            if place.exists():
                freed += size_of(place)
                shutil.rmtree(place)
        workshop.log.unlink(missing_ok=True)
    shutil.rmtree(workshop.folder, ignore_errors=True)
    return freed
