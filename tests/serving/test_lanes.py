# SPDX-License-Identifier: Apache-2.0
"""Lanes: a training and other work run side by side, each lane in order; what Blender waits for waits for neither."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from blendsplat.jobs import devices, kinds
from blendsplat.jobs.kinds import JobKind, lanes
from blendsplat.jobs.options import SelftestOptions
from blendsplat.progress import Progress
from blendsplat.serving import priority, rendering
from blendsplat.serving import server as server_module
from blendsplat.serving.interactive import WAITING_REQUESTS
from blendsplat.serving.priority import Priority
from engine_client import Client, EngineProcess, LocalServer

ENDLESS = {"seconds": 60, "steps": 6000}


def fake(monkeypatch: pytest.MonkeyPatch, name: str, run: Callable[[Any, Progress], dict[str, Any]]) -> None:
    lane = "train" if name.endswith("train") else "work"
    monkeypatch.setitem(kinds.KINDS, name, JobKind(name, "faking", SelftestOptions, run, lane))


def until_running(client: Client, *jobs: str) -> None:
    while not all(client.notes("job.progress", job) for job in jobs):
        client.step()


def states(client: Client) -> dict[str, str]:
    return {job["job"]: job["state"] for job in client.call("job.list")["jobs"]}


def test_hello_names_the_lanes(engine: EngineProcess) -> None:
    assert engine.call("hello", protocol=1)["lanes"] == lanes()


def test_lanes_run_side_by_side_and_each_in_order(engine: EngineProcess) -> None:
    train, work = engine.start("selftest_train", **ENDLESS), engine.start("selftest", **ENDLESS)
    waiting = [engine.start("selftest_train", seconds=0, steps=1), engine.start("selftest", seconds=0, steps=1)]
    until_running(engine, train, work)
    assert states(engine) == {train: "running", work: "running", waiting[0]: "queued", waiting[1]: "queued"}
    assert {job["lane"] for job in engine.call("job.list")["jobs"]} == {"train", "work"}

    assert engine.call("job.cancel", job=work)["state"] == "cancelling"
    assert engine.finished(work)["state"] == "cancelled"
    assert engine.finished(waiting[1])["state"] == "done"
    assert states(engine)[train] == "running" and states(engine)[waiting[0]] == "queued"
    assert engine.call("job.cancel", job=waiting[0])["state"] == "cancelled"
    assert engine.call("job.cancel", job=train)["state"] == "cancelling"
    assert engine.finished(train)["state"] == "cancelled"
    assert engine.close() == 0


def test_the_end_of_input_cancels_both_lanes(engine: EngineProcess) -> None:
    jobs = [engine.start("selftest_train", **ENDLESS), engine.start("selftest", **ENDLESS)]
    queued = [engine.start("selftest_train", **ENDLESS), engine.start("selftest", **ENDLESS)]
    until_running(engine, *jobs)
    engine.process.stdin.close()
    assert [engine.finished(job)["state"] for job in jobs + queued] == ["cancelled"] * 4
    assert engine.process.wait(30) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_kill_ends_both_lanes_at_once(engine: EngineProcess) -> None:
    jobs = [engine.start("selftest_train", **ENDLESS), engine.start("selftest", **ENDLESS)]
    until_running(engine, *jobs)
    engine.process.kill()
    assert engine.process.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize(("doomed", "other"), [("selftest", "selftest_train"), ("selftest_train", "selftest")])
def test_a_job_that_fails_leaves_the_other_lane_alone(engine: EngineProcess, doomed: str, other: str) -> None:
    running = engine.start(other, **ENDLESS)
    assert engine.finished(engine.start(doomed, seconds=0, steps=2, fail="unexpected"))["state"] == "failed"
    assert states(engine)[running] in ("queued", "running")
    assert engine.finished(engine.start(doomed, seconds=0, steps=1))["state"] == "done"


def test_the_end_waits_for_what_both_lanes_keep(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []

    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        progress.update("train", 1, 2)
        while not progress.cancelled:
            time.sleep(0.01)
        time.sleep(0.3)  # writing the checkpoint
        kept.append(threading.current_thread().name)
        progress.check()
        return {}

    for name in ("selftest", "selftest_train"):
        fake(monkeypatch, name, run)
    until_running(server, server.start("selftest"), server.start("selftest_train"))
    assert server.close() == 0
    assert sorted(kept) == ["jobs train", "jobs work"]


def test_a_job_that_does_not_stop_delays_the_end_once(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that the end may take is one for all lanes, not one for each."""
    monkeypatch.setattr(server_module, "CHECKPOINT_SECONDS", 1.0)
    gate = threading.Event()

    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        progress.update("train", 1, 2)
        gate.wait(30)
        return {}

    for name in ("selftest", "selftest_train"):
        fake(monkeypatch, name, run)
    until_running(server, server.start("selftest"), server.start("selftest_train"))
    begin = time.monotonic()
    assert server.close() == 0
    gate.set()
    assert time.monotonic() - begin < 1.9  # one second for the jobs, up to half for the loop that sees the end


def test_a_slow_request_holds_up_only_its_own_method(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slow(request: rendering.RigRequest) -> tuple[dict[str, Any], dict[str, Any]]:
        gate.wait(30)
        return {"head": "slow"}, {}

    monkeypatch.setattr(rendering, "head_rig", slow)
    monkeypatch.setattr(rendering, "describe_avatar", lambda request: {"name": "quick"})
    monkeypatch.setattr(rendering, "render_gaussians", lambda request, arrays: {})
    rig = server.send("head.rig", directory="/somewhere")
    assert server.call("avatar.describe", path="/a")["name"] == "quick"
    assert server.call("render.gaussians", width=8, height=8) == {}
    assert server.call("hello", protocol=1)["protocol"] == 1
    assert rig not in server.answers
    gate.set()
    assert server.answer(rig).body["result"]["head"] == "slow"


def test_a_full_line_of_requests_is_refused(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, begun = threading.Event(), threading.Event()

    def slow(request: rendering.RenderRequest, arrays: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        gate.wait(30)
        return {}

    monkeypatch.setattr(rendering, "render_gaussians", slow)
    sent = [server.send("render.gaussians", width=8, height=8)]
    assert begun.wait(30)
    sent += [server.send("render.gaussians", width=8, height=8) for _ in range(WAITING_REQUESTS + 2)]
    for refused in sent[-2:]:
        assert "unanswered requests render.gaussians" in server.answer(refused).body["error"]["message"]
    gate.set()
    for answered in sent[:-2]:
        assert server.answer(answered).body["result"] == {}


def test_jobs_rest_while_a_request_waits(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two steps a job gives way, but never for long: a stream of requests does not stop a training."""
    steps: list[float] = []
    gate = threading.Event()

    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        while True:
            progress.check()
            steps.append(time.monotonic())
            progress.update("train", len(steps), 10**6)
            time.sleep(0.001)

    monkeypatch.setattr(priority, "PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(rendering, "render_gaussians", lambda request, arrays: gate.wait(30) and {})
    fake(monkeypatch, "selftest_train", run)
    job = server.start("selftest_train")
    until_running(server, job)
    begin = time.monotonic()
    request = server.send("render.gaussians", width=8, height=8)
    time.sleep(1.0)
    gate.set()
    server.answer(request)
    during = sum(begin + 0.2 < step < begin + 1.0 for step in steps)
    assert 1 <= during <= 5
    time.sleep(0.3)
    assert sum(step > begin + 1.1 for step in steps) > 20
    server.call("job.cancel", job=job)
    assert server.finished(job)["state"] == "cancelled"


def test_priority_counts_every_request() -> None:
    requests, begin = Priority(), time.monotonic()
    requests.give_way()
    requests.begin()
    requests.begin()
    requests.end()
    threading.Timer(0.05, requests.end).start()
    requests.give_way()
    assert 0.04 < time.monotonic() - begin < priority.PAUSE_SECONDS


def test_a_fit_beside_it_does_not_leave_a_job_one_thread(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit sets torch to one thread; a lane whose first computation fell into it kept that for ever."""
    devices.import_torch()
    monkeypatch.setattr(devices, "_torch_threads", 3)
    fitting, seen = threading.Event(), []

    def fit() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        fitting.wait(30)
        torch.set_num_threads(before)

    def run(options: SelftestOptions, progress: Progress) -> dict[str, Any]:
        seen.append(torch.get_num_threads())
        return {}

    thread = threading.Thread(target=fit)
    thread.start()
    fake(monkeypatch, "selftest_train", run)
    assert server.finished(server.start("selftest_train"))["state"] == "done"
    fitting.set()
    thread.join()
    assert seen == [3]
