# SPDX-License-Identifier: Apache-2.0
"""Files that were damaged or made to harm: each is refused in one sentence or read whole, soon and in little memory."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .file_kinds import KINDS, ROOT
from .table import Row, Share

TARGET = 2000  # mutations of a kind
SECONDS, MEGABYTES = 2.0, 500.0  # that a case may take
HUNG = 20.0  # seconds after which a case that says nothing hangs; a busy machine included
STARTING = 120.0  # the same for a process's first case of a kind, which makes the sound files
_BLOCK = 20  # cases of a kind before the next kind's turn: all kinds end alike when the time does


class Reader:
    """A process that reads mutated files; another one takes its place when it is lost."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self._process: subprocess.Popen[str] | None = None
        self._known: set[str] = set()  # kinds that this process has prepared
        self._told: set[str] = set()  # kinds that any has

    def read(self, kind: str, number: int) -> tuple[str, float, float]:
        """(what is wrong, seconds, megabytes) of one case."""
        if self._process is None:
            self._process = self._started()
        process, waits = self._process, HUNG if kind in self._known else STARTING
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(f"{kind}\t{number}\n")
            process.stdin.flush()
            line = process.stdout.readline() if select.select([process.stdout], [], [], waits)[0] else None
        except OSError:
            line = ""
        if line:
            self._known.add(kind)
            self._told.add(kind)
            wrong, seconds, megabytes = json.loads(line)
            return wrong, seconds, megabytes
        self.close()
        ended = process.returncode
        if kind not in self._told:  # not the mutated file's fault: the campaign's own
            raise RuntimeError(f"{kind}: no sound file could be made and read; see {self.folder / 'stderr.txt'}")
        return ("it hangs" if line is None else f"the process ended with {ended}"), 0.0, 0.0

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._known.clear()

    def _started(self) -> subprocess.Popen[str]:
        support = Path(__file__).resolve().parents[1]
        paths = [str(support), str(ROOT / "engine"), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": "1",
            "HOME": str(self.folder / "home"),
            "BLENDSPLAT_CACHE": str(self.folder / "cache"),
        }
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        with (self.folder / "stderr.txt").open("ab") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "soak.file_worker", str(self.folder / "files"), str(self.seed)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
                cwd=self.folder,
            )


def run(share: Share) -> Iterator[Row]:
    rows = {name: Row("files", name) for name in KINDS}
    reader = Reader(share.folder, share.seed)
    outside = _outside(share.folder)
    try:
        left = dict(rows)
        while any(share.wants(row.tried, TARGET) for row in left.values()):
            for name, row in list(left.items()):
                try:
                    for _ in range(_BLOCK):
                        if share.wants(row.tried, TARGET):
                            _one(reader, row, name)
                except RuntimeError as error:
                    row.bad(str(error))
                    del left[name]
    finally:
        reader.close()
    if appeared := _outside(share.folder) - outside - {"home", "files", "stderr.txt", "cache"}:
        next(iter(rows.values())).bad(f"written outside of the files' folders: {sorted(appeared)}")
    yield from rows.values()


def _one(reader: Reader, row: Row, name: str) -> None:
    number = row.tried
    wrong, seconds, megabytes = reader.read(name, number)
    if not wrong and seconds > SECONDS:
        wrong = f"{seconds:.1f} seconds of processor time"
    if not wrong and megabytes > MEGABYTES:
        wrong = f"{megabytes:.0f} MB"
    if wrong:
        row.bad(f"seed {reader.seed}, number {number}: {wrong}", seconds=seconds, peak_mb=megabytes)
    else:
        row.good(seconds, megabytes)


def _outside(folder: Path) -> set[str]:
    """Names in the part's folder and in the system's temporary one that a file named."""
    return {path.name for path in folder.iterdir()} | {name for name in ("/tmp/outside.npy",) if Path(name).exists()}
