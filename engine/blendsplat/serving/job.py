# SPDX-License-Identifier: Apache-2.0
"""One job of the server: where it stands, and its Progress as notifications.

Progress and previews are limited in rate, so that a loop may report every step without flooding the pipe; frames are
never left out.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import BaseModel

from blendsplat.jobs.eta import EtaClock
from blendsplat.jobs.json_values import plain
from blendsplat.jobs.kinds import JobKind
from blendsplat.progress import Progress
from blendsplat.serving.connection import Outbox
from blendsplat.serving.priority import Priority

_PROGRESS_SECONDS = 0.1
_PREVIEW_SECONDS = 0.1
ENDED = ("done", "failed", "cancelled")


@dataclass
class Job:
    """One piece of long work and where it stands. States: queued, running, cancelling, done, failed, cancelled."""

    id: str
    kind: JobKind
    params: BaseModel
    state: str = "queued"
    stage: str = ""
    done: float = 0.0
    total: float = 0.0
    message: str = ""
    progress: Progress = field(default_factory=Progress)

    def as_json(self) -> dict[str, Any]:
        """As listed by ``job.list``."""
        return {
            "job": self.id, "kind": self.kind.name, "lane": self.kind.lane, "state": self.state, "stage": self.stage,
            "done": self.done, "total": self.total, "message": self.message,
        }  # fmt: skip


class JobProgress(Progress):
    """Sends ``job.progress`` (10 a second; a new stage and a stage's end always), ``job.preview`` (10 a second; only
    the newest waits for the reader) and ``job.frame`` (of offered ones only the newest waits, too)."""

    def __init__(self, job: Job, outbox: Outbox, priority: Priority) -> None:
        super().__init__()
        self._job = job
        self._outbox = outbox
        self._priority = priority
        self._sent = (-math.inf, "", False)  # when, stage, was it complete
        self._previewed = -math.inf
        self._eta = EtaClock()

    def update(self, stage: str, done: float, total: float, message: str = "", **figures: float) -> None:
        done, total = _finite(done) or 0.0, _finite(total) or 0.0
        self._job.stage, self._job.done, self._job.total, self._job.message = stage, done, total, message
        measured = self._eta.estimate(stage, done, total)
        eta = figures.pop("eta_s", measured)  # work that knows better says so
        now, complete = time.monotonic(), total > 0 and done >= total
        if now - self._sent[0] < _PROGRESS_SECONDS and (stage, complete) == self._sent[1:]:
            return
        self._sent = (now, stage, complete)
        params = {
            "job": self._job.id, "kind": self._job.kind.name, "stage": stage, "done": done, "total": total,
            "message": message, "eta_s": _finite(eta),
            "figures": {name: _finite(value) for name, value in figures.items()},
        }  # fmt: skip
        self._outbox.notify("job.progress", params, droppable=True)

    def preview(self, image: np.ndarray) -> None:
        now = time.monotonic()
        if now - self._previewed < _PREVIEW_SECONDS:
            return
        self._previewed = now
        copy = np.array(image, dtype=np.uint8, order="C")  # the caller may paint on; the outbox writes later
        params = {"job": self._job.id}
        self._outbox.notify("job.preview", params, {"image": copy}, slot=f"job.preview {self._job.id}")

    def send_frame(self, info: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self._outbox.wait_for_room(lambda: self.cancelled)
        self.check()
        copies = {name: np.array(array, order="C") for name, array in arrays.items()}
        self._outbox.notify("job.frame", {"job": self._job.id, "info": plain(info)}, copies)

    def offer_frame(self, info: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        copies = {name: np.array(array, order="C") for name, array in arrays.items()}
        params = {"job": self._job.id, "info": plain(info)}
        what = " head" if "head" in info else ""  # the newest of each kind waits
        self._outbox.notify("job.frame", params, copies, slot=f"job.frame {self._job.id}{what}")

    def check(self) -> None:
        super().check()
        self._priority.give_way()
        super().check()


def _finite(value: float | None) -> float | None:
    """JSON knows neither NaN nor infinity."""
    if value is None:
        return None
    value = float(value)
    return value if math.isfinite(value) else None
