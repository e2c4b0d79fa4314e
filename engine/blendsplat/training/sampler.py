# SPDX-License-Identifier: Apache-2.0
"""Which frames the next batch shows: shuffled epochs offline, a local and a global pool for frames that stream in.

Every sampler owns its random generator and can say and restore its whole state, so that a resumed training draws
exactly what an uninterrupted one would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch


class Sampler(Protocol):
    """Draws frame numbers; knows nothing of images."""

    def next_batch(self, size: int) -> list[int]:
        """``size`` frame numbers (a frame may come twice)."""

    def observe(self, frame: int) -> None:
        """A frame has arrived (streaming samplers; others ignore it)."""

    def forget(self, frame: int) -> None:
        """A frame is gone: another one takes its number."""

    def state(self) -> dict[str, Any]:
        """Everything ``restore`` needs, as plain numbers and lists."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken."""


def _generator_state(generator: torch.Generator) -> list[int]:
    return generator.get_state().tolist()


def _restore_generator(generator: torch.Generator, state: list[int]) -> None:
    generator.set_state(torch.tensor(state, dtype=torch.uint8))


class OfflineSampler:
    """Every frame once per epoch, in a new random order each time; one that arrives takes part from the next on."""

    def __init__(self, frames: Sequence[int], seed: int = 0) -> None:
        self._frames = list(frames)
        self._generator = torch.Generator().manual_seed(seed)
        self._left: list[int] = []

    def __len__(self) -> int:
        return len(self._frames)

    def observe(self, frame: int) -> None:
        self._frames.append(frame)

    def forget(self, frame: int) -> None:
        """The one that takes its number takes its turn, too."""

    def next_batch(self, size: int) -> list[int]:
        batch: list[int] = []
        while len(batch) < size:
            if not self._left:
                order = torch.randperm(len(self._frames), generator=self._generator).tolist()
                self._left = [self._frames[index] for index in order]
            taken = self._left[: size - len(batch)]
            self._left = self._left[len(taken) :]
            batch += taken
        return batch

    def state(self) -> dict[str, Any]:
        return {"left": list(self._left), "generator": _generator_state(self._generator)}

    def restore(self, state: dict[str, Any]) -> None:
        self._left = list(state["left"])
        _restore_generator(self._generator, state["generator"])


class OnlineSampler:
    """Local-global sampling of a stream (RGBAvatar, section 3.3 and 7.2).

    The local pool is a queue of the newest ``local_size`` frames, drawn without replacement with weight exp(i / size)
    (i counts from the oldest). A frame that leaves it enters the global pool by reservoir sampling, so that the global
    pool stays a uniform sample of all that left. Each slot of a batch is global with probability
    ``global_share`` * min((seen - local_size) / ramp, 1).
    """

    FIRST = 10  # so many frames are shown before the first step, as far as they have come

    def __init__(
        self, seed: int = 0, local_size: int = 150, global_size: int = 1000, global_share: float = 0.7,
        ramp: int = 599,
    ) -> None:  # fmt: skip
        self._generator = torch.Generator().manual_seed(seed)
        self._local_size, self._global_size, self._share = local_size, global_size, global_share
        self._ramp = ramp
        self.local: list[int] = []
        self.long_term: list[int] = []
        self.seen = 0
        self._left_local = 0  # frames that ever left the local pool

    def observe(self, frame: int) -> None:
        self.seen += 1
        self.local.append(frame)
        if len(self.local) > self._local_size:
            self._remember(self.local.pop(0))

    def forget(self, frame: int) -> None:
        for pool in (self.local, self.long_term):
            if frame in pool:
                pool.remove(frame)

    def _remember(self, frame: int) -> None:
        """Reservoir sampling: after n frames each of them is kept with probability size / n."""
        self._left_local += 1
        if len(self.long_term) < self._global_size:
            self.long_term.append(frame)
            return
        place = self._integer(self._left_local)
        if place < self._global_size:
            self.long_term[place] = frame

    def next_batch(self, size: int) -> list[int]:
        if not self.local:
            raise ValueError("observe frames before drawing a batch")
        share = self._share * min(max(self.seen - self._local_size, 0) / self._ramp, 1.0)
        draws = torch.rand(size, generator=self._generator)
        from_global = int((draws < share).sum()) if self.long_term else 0
        batch = [self.long_term[self._integer(len(self.long_term))] for _ in range(from_global)]
        while len(batch) < size:
            batch += self._local_draw(min(size - len(batch), len(self.local)))
        return batch

    def _local_draw(self, count: int) -> list[int]:
        weights = torch.exp(torch.arange(len(self.local), dtype=torch.float64) / self._local_size)
        chosen = torch.multinomial(weights, count, replacement=False, generator=self._generator)
        return [self.local[index] for index in chosen.tolist()]

    def _integer(self, below: int) -> int:
        return int(torch.randint(below, (1,), generator=self._generator))

    def state(self) -> dict[str, Any]:
        return {
            "local": list(self.local), "long_term": list(self.long_term), "seen": self.seen,
            "left_local": self._left_local, "generator": _generator_state(self._generator),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        self.local, self.long_term = list(state["local"]), list(state["long_term"])
        self.seen, self._left_local = int(state["seen"]), int(state["left_local"])
        _restore_generator(self._generator, state["generator"])
