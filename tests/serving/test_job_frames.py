# SPDX-License-Identifier: Apache-2.0
"""Frames to a running job and back: in order, bounded on the way in, never dropped on the way out."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from blendsplat.jobs import kinds
from blendsplat.jobs.kinds import JobKind
from blendsplat.jobs.options import SelftestOptions
from blendsplat.progress import WAITING_FRAMES, Progress
from blendsplat.serving import connection
from engine_client import Client, EngineProcess, LocalServer


def fake(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    monkeypatch.setitem(kinds.KINDS, "selftest", JobKind("selftest", "faking", SelftestOptions, run))


def frame(number: int, size: int = 8) -> dict[str, np.ndarray]:
    return {"image": np.full((size, size, 3), number % 256, np.uint8), "K": np.eye(3) * number}


def give(client: Client, job: str, number: int, size: int = 8) -> bool:
    """Whether the job took the frame."""
    return client.call("job.frame", frame(number, size), job=job, info={"number": number})["accepted"]


@pytest.mark.parametrize("kind", ["selftest", "selftest_train"])
def test_frames_are_echoed_in_order_under_load(engine: EngineProcess, kind: str) -> None:
    other = engine.start("selftest_train" if kind == "selftest" else "selftest", seconds=60, steps=60_000, preview=True)
    job = engine.start(kind, seconds=60, steps=60_000, preview=True, echo=True)
    sent = 0
    while sent < 300:
        sent += give(engine, job, sent)
    while len(engine.notes("job.frame", job)) < sent:
        engine.step()
    for number, message in enumerate(engine.notes("job.frame", job)):
        assert message.body["params"] == {"job": job, "info": {"number": number}}
        for name, array in frame(number).items():
            np.testing.assert_array_equal(message.arrays[name], array)
            assert message.arrays[name].dtype == array.dtype
    assert not engine.notes("job.frame", other)
    for ended in (job, other):
        engine.call("job.cancel", job=ended)
        assert engine.finished(ended)["state"] == "cancelled"


def test_a_full_line_accepts_no_more(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, taken = threading.Event(), []

    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        gate.wait(30)
        taken.extend(progress.frames())
        return {}

    fake(monkeypatch, run)
    job = server.start("selftest")
    answers = [
        server.call("job.frame", frame(number), job=job, info={"number": number})
        for number in range(WAITING_FRAMES + 3)
    ]
    assert [answer["accepted"] for answer in answers] == [True] * WAITING_FRAMES + [False] * 3
    assert [answer["waiting"] for answer in answers] == [*range(1, WAITING_FRAMES + 1)] + [WAITING_FRAMES] * 3
    gate.set()
    assert server.finished(job)["state"] == "done"
    assert [frame.info["number"] for frame in taken] == list(range(WAITING_FRAMES))
    np.testing.assert_array_equal(taken[-1].arrays["image"], frame(WAITING_FRAMES - 1)["image"])


def test_who_takes_frames_is_named(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no job 'job-9'" in server.error("job.frame", job="job-9", info={})["message"]
    gate = threading.Event()
    fake(monkeypatch, lambda options, progress: gate.wait(30) and {})
    running, queued = server.start("selftest"), server.start("selftest")
    assert server.call("job.frame", frame(1), job=queued) == {"accepted": True, "waiting": 1}
    assert "'info'" in server.error("job.frame", job=running, info=[1])["message"]
    assert "no option 'number'" in server.error("job.frame", job=running, number=1)["message"]
    server.call("job.cancel", job=queued)
    error = server.error("job.frame", frame(1), job=queued)
    assert "has ended (cancelled)" in error["message"] and error["code"] == -32602
    gate.set()
    server.finished(running)
    assert "has ended (done)" in server.error("job.frame", frame(1), job=running)["message"]


def test_an_ended_job_keeps_no_frames(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, inboxes = threading.Event(), []

    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        inboxes.append(progress.inbox)
        gate.wait(30)
        return {}

    fake(monkeypatch, run)
    job = server.start("selftest")
    assert give(server, job, 0)
    gate.set()
    server.finished(job)
    assert len(inboxes[0]) == 0


def test_a_job_waits_for_a_frame_and_sees_the_cancel(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        waited.append([frame.info for frame in progress.frames(wait=30)])
        waited.append(progress.frames(wait=30))
        progress.check()
        return {}

    fake(monkeypatch, run)
    job = server.start("selftest")
    time.sleep(0.1)
    assert give(server, job, 5)
    while not waited:
        time.sleep(0.01)
    server.call("job.cancel", job=job)
    assert server.finished(job)["state"] == "cancelled"
    assert waited == [[{"number": 5}], []]


def test_a_sent_frame_is_a_copy_and_its_numbers_are_json(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        image = np.full((4, 5, 3), 7, np.uint8)
        progress.send_frame({"loss": float("nan"), "at": np.float32(2)}, {"image": image})
        image[:] = 0
        return {}

    fake(monkeypatch, run)
    job = server.start("selftest")
    server.finished(job)
    (message,) = server.notes("job.frame", job)
    assert message.arrays["image"].min() == 7
    assert message.body["params"]["info"] == {"loss": None, "at": 2.0}


def test_frames_wait_for_a_slow_reader(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are never dropped, so the job waits instead of filling the memory; it can still be cancelled."""
    monkeypatch.setattr(connection, "_BEHIND_BYTES", 2**20)
    sent = []

    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        for number in range(options.steps):
            progress.send_frame({"number": number}, {"image": np.zeros((256, 256, 3), np.uint8)})
            sent.append(number)
        return {}

    fake(monkeypatch, run)
    job = server.start("selftest", steps=40)
    time.sleep(0.5)
    assert 5 <= len(sent) < 12  # a MiB, and what the pipe holds
    assert server.finished(job)["state"] == "done"
    assert [m.body["params"]["info"]["number"] for m in server.notes("job.frame", job)] == list(range(40))

    job = server.start("selftest", steps=40)
    cancel = server.send("job.cancel", job=job)
    time.sleep(0.5)
    assert server.finished(job)["state"] == "cancelled" and server.answer(cancel)
    assert len(server.notes("job.frame", job)) < 40
