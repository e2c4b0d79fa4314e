# SPDX-License-Identifier: Apache-2.0
"""A folder of clips whose jobs take moments (stand_in_worker.py), and what a batch made of it."""

from __future__ import annotations

import json
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.batch.child import Work
from blendsplat.batch.clips import Unit, find_clips
from blendsplat.batch.recipe import Recipe
from blendsplat.batch.run import Machines, run_batch
from blendsplat.progress import Progress

WORK = Work(Recipe(device="cpu"), 1, (str(Path(__file__).with_name("stand_in_worker.py")),))


class Batch:
    """A folder of clips and what is made of it."""

    def __init__(self, folder: Path) -> None:
        self.clips, self.output = folder / "clips ü", folder / "avatars ü"
        self.clips.mkdir()

    def add(self, name: str, **asked: Any) -> None:
        (self.clips / f"{name}.mp4").write_text(json.dumps(asked))

    @property
    def units(self) -> dict[str, Unit]:
        return {unit.name: unit for unit in find_clips([self.clips], self.output)[0]}

    def run(self, progress: Progress | None = None, recipe: Recipe | None = None, workers: int = 2) -> dict[str, Any]:
        work = replace(WORK, recipe=recipe or WORK.recipe)
        units = list(self.units.values())
        return run_batch(units, work, Machines(workers), progress or Progress(), self.output / "batch" / "result.json")

    @property
    def calls(self) -> Counter[str]:
        try:
            return Counter((self.output / "calls.txt").read_text(encoding="utf-8").splitlines())
        except FileNotFoundError:
            return Counter()

    def states(self, result: dict[str, Any]) -> dict[str, str]:
        return {row["clip"]: row["state"] for row in result["clips"]}

    def steps(self, name: str) -> int:
        """Of its training, that the checkpoint holds."""
        try:
            return int((self.output / f"{name}.avatar.checkpoint").read_text() or 0)
        except FileNotFoundError:
            return 0

    def process(self, name: str) -> int:
        """The worker's id, as its lock tells."""
        return int(self.units[name].lock.read_text().split()[1])

    def trained_from(self, name: str) -> int:
        """The step with which the training began that finished it."""
        with np.load(self.output / f"{name}.avatar.npz") as archive:
            return json.loads(archive["meta"].tobytes())["trained_from"]

    def check_whole(self, *names: str) -> None:
        for name in names:
            with zipfile.ZipFile(self.output / f"{name}.avatar.npz") as archive:
                assert archive.testzip() is None
            assert not list(self.output.glob(f".{name}*"))  # nothing half-written lies about


def wait_for(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
