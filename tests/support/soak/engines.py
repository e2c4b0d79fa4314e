# SPDX-License-Identifier: Apache-2.0
"""Engines to kill: forked from the loaded process, spoken to as Blender does."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from engine_client import Client

from .forked import Ended, Forked


class Engine(Client):
    """``blendsplat serve``."""

    def __init__(self, forked: Forked, folder: Path, **more: Any) -> None:
        names = [folder / "to-engine", folder / "from-engine"]
        for name in names:
            name.unlink(missing_ok=True)
            os.mkfifo(name)
        self.running = forked.start(["serve"], input=str(names[0]), output=str(names[1]), **more)
        super().__init__(None, names[0].open("wb", 0))
        self.source = names[1].open("rb")

    def do(self, kind: str, params: dict[str, Any]) -> str:
        """Run a job to its end: what went wrong, in the engine's words; empty when it is done."""
        ended = self.finished(self.start(kind, **params))
        return "" if ended["state"] == "done" else f"{ended['state']}: {(ended.get('error') or {}).get('message')}"

    def end(self) -> Ended:
        """Kill it."""
        self.running.kill()
        ended = self.running.wait()
        for pipe in (self.sink, self.source):
            with contextlib.suppress(OSError):
                pipe.close()
        return ended
