# SPDX-License-Identifier: Apache-2.0
"""When a step is run, captured and replayed: the control flow with a torch.cuda that only notes what it is asked."""

from __future__ import annotations

import logging
from contextlib import contextmanager

import pytest
import torch

from blendsplat.training.graph import GraphedStep


class FakeCuda:
    """Notes what happens in ``log``; a graph replays the work that was recorded while it was captured."""

    def __init__(self, refuses: bool = False) -> None:
        self.log, self.refuses, self.recording, self.current = [], refuses, None, FakeStream("main", [])

    def Stream(self, device):  # noqa: N802 (torch's name)
        return FakeStream("side", self.log)

    def current_stream(self):
        return self.current

    def CUDAGraph(self):  # noqa: N802 (torch's name)
        return FakeGraph(self)

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph, stream, capture_error_mode):
        assert stream.name == "side" and capture_error_mode == "thread_local"
        self.recording = graph.recorded
        try:
            yield
            if self.refuses:
                raise RuntimeError("operation not permitted when stream is capturing")
        finally:
            self.recording = None
        self.log.append("captured")

    def work(self, key):
        if self.recording is not None:
            self.recording.append(key)
        else:
            self.log.append((key, self.current.name))


class FakeGraph:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda, self.recorded = cuda, []

    def replay(self):
        self.cuda.log += [(key, "graph") for key in self.recorded]


class FakeStream:
    def __init__(self, name, log):
        self.name, self.waits = name, log

    def wait_stream(self, other):
        self.waits.append((self.name, "waits for", other.name))


def done(cuda, key):
    return [how for entry in cuda.log if entry[0] == key and len(entry) == 2 for how in entry[1:]]


def test_each_call_does_the_work_once_whether_run_or_replayed() -> None:
    cuda = FakeCuda()
    step = GraphedStep(cuda.work, torch.device("cuda"), cuda)
    for _ in range(6):
        step("a")
    assert done(cuda, "a") == ["side"] * 3 + ["graph"] * 3
    assert cuda.log.count("captured") == 1 and step.captured == {"a"}
    assert cuda.log[0] == ("side", "waits for", "main"), "a warm-up run starts after what was queued before it"


def test_every_stage_is_warmed_up_and_captured_on_its_own() -> None:
    cuda = FakeCuda()
    step = GraphedStep(cuda.work, torch.device("cuda"), cuda)
    for key in "aaaabababab":
        step(key)
    assert done(cuda, "a") == ["side"] * 3 + ["graph"] * 4
    assert done(cuda, "b") == ["side"] * 3 + ["graph"]
    assert step.captured == {"a", "b"}


def test_what_is_forgotten_is_captured_anew() -> None:
    cuda = FakeCuda()
    step = GraphedStep(cuda.work, torch.device("cuda"), cuda)
    for _ in range(4):
        step("a")
    step.forget()
    assert not step.captured
    for _ in range(4):
        step("a")
    assert done(cuda, "a") == (["side"] * 3 + ["graph"]) * 2


def test_a_refused_capture_costs_no_step_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    cuda = FakeCuda(refuses=True)
    step = GraphedStep(cuda.work, torch.device("cuda"), cuda)
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            step("a")
    assert done(cuda, "a") == ["side"] * 3 + ["main"] * 3
    assert [record.message.count("not permitted") for record in caplog.records] == [1]


def test_errors_of_a_warm_up_run_come_through_and_leave_the_stream() -> None:
    cuda = FakeCuda()

    def failing(key):
        raise ValueError(key)

    step = GraphedStep(failing, torch.device("cuda"), cuda)
    with pytest.raises(ValueError, match="a"):
        step("a")
    assert cuda.current.name == "main"


def test_a_cpu_runs_as_it_is() -> None:
    ran = []
    step = GraphedStep(ran.append, torch.device("cpu"), cuda=None)
    for _ in range(5):
        step("a")
    assert ran == ["a"] * 5 and not step.captured
