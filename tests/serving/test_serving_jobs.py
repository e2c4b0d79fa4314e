# SPDX-License-Identifier: Apache-2.0
"""Jobs and requests inside this process, with fake work: the queue, previews, the errors."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import numpy as np
import pytest

from blendsplat.jobs import kinds
from blendsplat.jobs.kinds import JobKind
from blendsplat.jobs.options import SelftestOptions
from blendsplat.progress import Progress
from blendsplat.serving.protocol import MAX_JSON_BYTES
from engine_client import LocalServer


def fake(monkeypatch: pytest.MonkeyPatch, run: Any, name: str = "selftest") -> None:
    monkeypatch.setitem(kinds.KINDS, name, JobKind(name, "faking", SelftestOptions, run))


def test_results_and_figures_that_json_does_not_know(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        progress.update("x", math.nan, math.inf, loss=math.nan, psnr=np.float32(30))
        return {"bad": {1, 2}}

    fake(monkeypatch, run)
    job = server.start("selftest")
    ended = server.finished(job)
    assert ended["state"] == "failed" and ended["result"] is None
    figures = server.notes("job.progress", job)[0].body["params"]["figures"]
    assert figures == {"loss": None, "psnr": 30.0}


def test_a_library_that_calls_exit_does_not_end_the_worker(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        raise SystemExit(3)

    fake(monkeypatch, run)
    assert server.finished(server.start("selftest"))["state"] == "failed"
    assert server.finished(server.start("selftest"))["state"] == "failed"


def test_waiting_jobs_can_be_cancelled_and_run_in_order(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, ran = threading.Event(), []

    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        ran.append(options.steps)
        gate.wait(30)
        return {}

    fake(monkeypatch, run)
    jobs = [server.start("selftest", steps=n) for n in (1, 2, 3)]
    assert server.call("job.cancel", job=jobs[1])["state"] == "cancelled"
    assert server.finished(jobs[1])["state"] == "cancelled"
    gate.set()
    assert [server.finished(job)["state"] for job in jobs] == ["done", "cancelled", "done"]
    assert ran == [1, 3]


def test_the_end_waits_for_the_checkpoint(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []

    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        progress.update("train", 1, 2)
        while not progress.cancelled:
            threading.Event().wait(0.01)
        threading.Event().wait(0.3)  # writing the checkpoint
        kept.append(True)
        progress.check()
        return {}

    fake(monkeypatch, run)
    job = server.start("selftest")
    while not server.notes("job.progress", job):
        server.step()
    assert server.close() == 0
    assert kept == [True]


def test_a_preview_is_copied(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        image = np.full((4, 5, 3), 7, np.uint8)
        progress.preview(image)
        image[:] = 0
        return {}

    fake(monkeypatch, run)
    job = server.start("selftest")
    server.finished(job)
    assert server.notes("job.preview", job)[0].arrays["image"].min() == 7


def test_a_slow_reader_gets_the_newest_preview(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads while twelve are made: one fills the pipe, and of those behind it only the last is kept."""

    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        for number in range(12):
            progress.preview(np.full((256, 256, 3), number, np.uint8))
            time.sleep(0.11)
        made.set()
        return {}

    made = threading.Event()
    fake(monkeypatch, run)
    job = server.start("selftest")
    assert made.wait(30)
    assert server.finished(job)["state"] == "done"
    assert [m.arrays["image"][0, 0, 0] for m in server.notes("job.preview", job)] == [0, 11]
    assert server.seen[-1].body["method"] == "job.finished"


def test_a_result_that_is_too_large_fails_the_job_not_the_lane(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, lambda options, progress: {"text": "x" * MAX_JSON_BYTES})
    ended = server.finished(job := server.start("selftest"))
    assert ended["state"] == "failed" and "larger than the protocol allows" in ended["error"]["message"]
    assert {"job": job, "state": "failed"}.items() <= server.call("job.list")["jobs"][0].items()
    assert server.finished(server.start("selftest"))["state"] == "failed"


def test_notifications_get_no_answer(server: LocalServer) -> None:
    text = b'{"jsonrpc":"2.0","method":"ping"}'
    server.write(len(text).to_bytes(4, "little") + bytes(8) + text)
    assert server.call("ping")["jobs"] == []
    assert server.answers == {}


@pytest.mark.parametrize("identity", ["true", "[1]", "{}"])
def test_ids_that_cannot_be_echoed(server: LocalServer, identity: str) -> None:
    text = f'{{"jsonrpc":"2.0","id":{identity},"method":"ping"}}'.encode()
    server.write(len(text).to_bytes(4, "little") + bytes(8) + text)
    assert server.step().body["error"]["code"] == -32600
