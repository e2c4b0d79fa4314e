# SPDX-License-Identifier: Apache-2.0
"""What happens between the steps of a training: named, with a start, an end and a stride, all counted in images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Callback:
    """``run()`` before a step, from ``start`` images on and before ``end`` (None: for ever), once in ``every`` images
    (None: one single time). A batch that jumps over several strides runs it once."""

    name: str
    run: Callable[[], None]
    start: int = 0
    end: int | None = None
    every: int | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"every: {self.name!r} needs a stride of at least one image, got {self.every}")

    def due(self, images: int, last: int | None) -> bool:
        """Whether it has to run before the step that begins after ``images``; ``last``: when it last ran."""
        if images < self.start or (self.end is not None and images >= self.end):
            return False
        if last is None:
            return True
        return self.every is not None and (images - self.start) // self.every > (last - self.start) // self.every


class Schedule:
    """Callbacks in order, and when each last ran: that belongs into a checkpoint, so that a training that goes on from
    one repeats nothing and leaves nothing out."""

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        names = [callback.name for callback in callbacks]
        if len(set(names)) != len(names):
            raise ValueError(f"callbacks: names must differ, got {names}")
        self._callbacks = list(callbacks)
        self._last: dict[str, int] = {}

    def run(self, images: int) -> None:
        """Run what is due before the step that begins after ``images``."""
        for callback in self._callbacks:
            if callback.due(images, self._last.get(callback.name)):
                self._last[callback.name] = images
                callback.run()

    def state(self) -> dict[str, int]:
        """When each callback last ran."""
        return dict(self._last)

    def restore(self, state: dict[str, int]) -> None:
        """Continue where ``state`` was taken."""
        self._last = {str(name): int(images) for name, images in state.items()}
