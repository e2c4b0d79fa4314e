# SPDX-License-Identifier: Apache-2.0
"""A training step as a CUDA graph: captured after a few ordinary runs, replayed with one call from then on.

A replay repeats the kernels of the captured run on the same addresses, so everything that changes from step to step
must lie in tensors; where sizes change, the owner makes a new object.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import torch

_WARM_UP = 3  # ordinary runs before a capture, in which libraries and buffers make what they make once
_log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)


class GraphedStep(Generic[Key]):
    """``work(key)``, replayed as a CUDA graph where ``device`` is one; each key has a graph of its own.

    Every call does the work exactly once: warm-up runs are real ones, and a capture, which runs nothing, is followed by
    its replay. A driver that refuses the capture costs speed, not the training: ``work`` then goes on running as it is.
    """

    def __init__(self, work: Callable[[Key], None], device: torch.device, cuda: Any = torch.cuda) -> None:
        """cuda: torch.cuda, or what a test puts in its place."""
        self._work, self._cuda = work, cuda
        self._enabled = device.type == "cuda"
        self._stream = cuda.Stream(device) if self._enabled else None
        self._runs: Counter[Key] = Counter()
        self._graphs: dict[Key, Any] = {}

    @property
    def captured(self) -> frozenset[Key]:
        """The keys that have a graph."""
        return frozenset(self._graphs)

    def forget(self) -> None:
        """Capture anew, because the work's buffers have moved or grown."""
        self._graphs.clear()
        self._runs.clear()

    def __call__(self, key: Key) -> None:
        if self._enabled and key not in self._graphs and self._runs[key] >= _WARM_UP:
            self._capture(key)
        if not self._enabled:
            self._work(key)
        elif key in self._graphs:
            self._graphs[key].replay()
        else:
            self._runs[key] += 1
            with self._beside():
                self._work(key)

    def _capture(self, key: Key) -> None:
        graph = self._cuda.CUDAGraph()
        try:
            # thread_local: other threads of the engine may use the device meanwhile
            with self._cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._work(key)
        except RuntimeError as error:
            _log.warning("The training step could not be captured as a CUDA graph and runs without: %s", error)
            self._enabled = False
        else:
            self._graphs[key] = graph

    def _beside(self) -> AbstractContextManager[None]:
        """Run on the stream that captures, in order with the current one."""
        return _InOrder(self._cuda, self._stream)


class _InOrder:
    """Inside, ``stream`` is current; it starts after what was queued before, and what follows waits for it."""

    def __init__(self, cuda: Any, stream: Any) -> None:
        self._cuda, self._stream = cuda, stream

    def __enter__(self) -> None:
        self._stream.wait_stream(self._cuda.current_stream())
        self._context = self._cuda.stream(self._stream)
        self._context.__enter__()

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(*error)
        self._cuda.current_stream().wait_stream(self._stream)
