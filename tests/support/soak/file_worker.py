# SPDX-License-Identifier: Apache-2.0
"""Reads mutated files, one after the other, in a process that may be lost: ``python -m soak.file_worker FOLDER SEED``.

A line "KIND<tab>NUMBER" comes in, a line of JSON goes out: what is wrong ("" for nothing), seconds of processor time
and how far memory rose in MB. With KIND and NUMBER as further arguments that one case is read, and told in full.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import sys
import time
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .file_kinds import KINDS, Kind, Target
from .hostile_pickles import MARKER
from .mutate import pick

SPARE = 3 * 2**30  # bytes of address space that a case may ask for
SPECIAL = 0.04  # of the cases: something stands in the file's place that is no file
EXIT_CODES = (1, 2, 3, 4, 5, 130)  # of the command line, 70 and 0 left out: these are no expected failures


class Worker:
    """folder: everything happens in it. seed: of all cases."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self._sound: dict[str, dict[str, bytes]] = {}
        self.marker = folder / "it ran"
        os.environ[MARKER] = str(self.marker)

    def case(self, kind: Kind, number: int) -> tuple[str, float, float]:
        """(what is wrong, seconds, megabytes)."""
        random = np.random.default_rng([self.seed, zlib.crc32(kind.name.encode()), number])
        folder, target = self._prepared(kind), pick(random, kind.targets)
        path = folder / target.name
        self._put(random, kind, target, path)
        before, memory = _resident("VmRSS"), _reset_peak()
        began = time.process_time()
        wrong = self._read(target, folder)
        seconds = time.process_time() - began
        megabytes = max(_resident("VmHWM") - before, 0.0) / 2**20 if memory else 0.0
        if self.marker.exists():
            self.marker.rmdir()
            wrong = "code of the file was run"
        self._restore(kind, folder)
        return f"{target.name}: {wrong}" if wrong else "", seconds, megabytes

    def _prepared(self, kind: Kind) -> Path:
        folder = self.folder / f"{list(KINDS).index(kind.name):02d} ü"
        if kind.name not in self._sound:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            kind.make(folder)
            sound = self._files(folder)
            for target in kind.targets:
                if target.whole:
                    target.read(folder)  # which must work before anything is wrong with it
            self._sound[kind.name] = sound
            self._restore(kind, folder)
        return folder

    @staticmethod
    def _files(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def _put(self, random: np.random.Generator, kind: Kind, target: Target, path: Path) -> None:
        """The mutated file, or something that is none, in the place of the sound one."""
        if random.random() < SPECIAL:
            path.unlink()
            pick(
                random,
                (
                    path.mkdir,
                    lambda: os.mkfifo(path),
                    lambda: path.symlink_to(path),
                    lambda: path.symlink_to("/dev/zero"),
                    lambda: path.symlink_to(path.parent / "gone"),
                    lambda: None,
                    lambda: path.symlink_to(path.parent),
                ),
            )()
            return
        path.write_bytes(target.mutate(random, self._sound[kind.name][target.name]))

    def _read(self, target: Target, folder: Path) -> str:
        """What is wrong with how it was read."""
        from blendsplat.errors import BlendsplatError

        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                target.read(folder)
        except BlendsplatError as error:
            return _sentence(error.sentence) or (
                "" if error.exit_code in EXIT_CODES else f"exit code {error.exit_code}"
            )
        except BaseException as error:
            if type(error).__name__ == "FileError":  # the add-on's
                return _sentence(str(error))
            where = traceback.extract_tb(error.__traceback__)[-1]
            said = " ".join(str(error).split())[:160]
            if os.environ.get("SOAK_TOLD"):
                traceback.print_exc()
            return f"{type(error).__name__}: {said} ({Path(where.filename).name}:{where.lineno})"
        return ""

    def _restore(self, kind: Kind, folder: Path) -> None:
        """The folder as it was made."""
        sound = self._sound[kind.name]
        for path in sorted(folder.rglob("*"), reverse=True):
            if str(path.relative_to(folder)) in sound and path.is_file() and not path.is_symlink():
                continue
            if path.is_symlink() or not path.is_dir():
                path.unlink()
            elif not any(path.iterdir()) and not any(name.startswith(f"{path.relative_to(folder)}/") for name in sound):
                path.rmdir()
        for name, content in sound.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != len(content) or name in {t.name for t in kind.targets}:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def _sentence(text: str) -> str:
    """What is wrong with an error's words."""
    if not text.strip() or "\n" in text or "\0" in text or len(text) > 1500:
        return f"not one sentence: {text[:120]!r} ({len(text)} letters)"
    if "Traceback" in text or text.strip()[-1] not in ".!)'?":
        return f"not a sentence: {text[-120:]!r}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"a sentence that nobody can print: {text[:120]!r}"
    return ""


def _resident(what: str) -> float:
    """Bytes of VmRSS or VmHWM."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(1024.0 * int(line.split()[1]) for line in status if line.startswith(what))
    except (OSError, StopIteration):
        return 0.0


def _reset_peak() -> bool:
    """Whether the system counts the peak from here on."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def _limit() -> None:
    """No case gets much more address space than there is in use now."""
    with open("/proc/self/status", encoding="ascii") as status:
        size = next(1024 * int(line.split()[1]) for line in status if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (size + SPARE, resource.RLIM_INFINITY))


def main() -> None:
    logging.disable(logging.CRITICAL)
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    told: Any = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    worker = Worker(folder, seed)
    if len(sys.argv) > 3:
        os.environ["SOAK_TOLD"] = "1"
        told.write(f"{worker.case(KINDS[sys.argv[3]], int(sys.argv[4]))}\n")
        os._exit(0)
    for line in sys.stdin:
        name, _, number = line.rstrip("\n").partition("\t")
        known = name in worker._sound
        if not known:
            worker._prepared(KINDS[name])
            if sys.platform == "linux":
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                _limit()
        wrong, seconds, megabytes = worker.case(KINDS[name], int(number))
        told.write(json.dumps([wrong, seconds, megabytes]) + "\n")
    os._exit(0)


if __name__ == "__main__":
    main()
