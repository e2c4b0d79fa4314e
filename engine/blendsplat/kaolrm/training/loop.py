# SPDX-License-Identifier: Apache-2.0
"""The loop round both trainings: batches are read ahead, progress is told, what is finished is kept when it stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from blendsplat.errors import Cancelled
from blendsplat.progress import Progress

Batch = TypeVar("Batch")


class Trainer(Protocol, Generic[Batch]):
    """One training: where it is, the batch at a place, and a step."""

    images: int  # seen so far

    @property
    def total(self) -> int:
        """Images at which it ends."""
        ...

    def batch(self, images: int) -> Batch:
        """The batch that follows ``images`` images."""
        ...

    def after(self, images: int) -> int:
        """How many images have been seen once that batch is done."""
        ...

    def step(self, batch: Batch) -> float:
        """Train on it -> the loss."""
        ...


def run(
    trainer: Trainer[Batch],
    progress: Progress,
    seconds: float,
    save: Callable[[], str],
    stop: Callable[[bool], bool] = bool,
) -> None:
    """Train to the end. ``save`` writes what there is and says how good it is: every ``seconds``, and at the end.

    stop: given whether this process was cancelled, whether to stop; several processes agree in it. Raises Cancelled.
    """
    saved, smooth = time.monotonic(), float("nan")
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(trainer.batch, trainer.images)
        try:
            while trainer.images < trainer.total:
                if stop(progress.cancelled):
                    raise Cancelled()
                batch = coming.result()
                coming = pool.submit(trainer.batch, trainer.after(trainer.images))
                loss = trainer.step(batch)
                smooth = loss if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss
                progress.update("train", trainer.images, trainer.total, loss=smooth)
                if time.monotonic() - saved > seconds:
                    progress.update("train", trainer.images, trainer.total, save(), loss=smooth)
                    saved = time.monotonic()
        finally:
            save()
