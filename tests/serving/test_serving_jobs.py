# SPDX-License-Identifier: Apache-2.0
"""Jobs and requests inside this process, with fake work: the queue, the options, the errors."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blendsplat.errors import InputError
from blendsplat.heads.performance import Performance
from blendsplat.jobs import kinds
from blendsplat.jobs.kinds import (
    JobKind,
    avatar_name,
    parse_background,
    part_of,
    performance_fps,
    plain,
    to_straight8,
)
from blendsplat.jobs.options import ABSOLUTE, ImportOptions, RenderOptions, SelftestOptions, TrainOptions, validated
from blendsplat.progress import Progress
from blendsplat.serving.queue import EtaClock
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


# --- options


@pytest.mark.parametrize(
    ("model", "values", "words"),
    [
        (SelftestOptions, {"secnds": 1}, "no option 'secnds'; did you mean 'seconds'"),
        (SelftestOptions, {"zzz": 1}, "no option 'zzz'; known are seconds, steps"),
        (SelftestOptions, {"steps": 0}, "'steps' cannot be 0: input should be greater"),
        (SelftestOptions, {"seconds": "long"}, "'seconds' cannot be 'long'"),
        (TrainOptions, {"output": "/a"}, "needs the option 'directory'"),
        (TrainOptions, {"directory": "clip", "output": "/a"}, "'directory'.*must be an absolute path"),
        (TrainOptions, {"directory": "/a\0b", "output": "/a"}, "'directory'.*is not a path"),
        (TrainOptions, {"directory": "", "output": "/a"}, "'directory'.*absolute"),
        (TrainOptions, {"directory": "/a", "output": "/a", "device": "gpu"}, "'device' cannot be 'gpu'"),
        (ImportOptions, {"video": "/v", "directory": "/d", "start": math.nan}, "'start'"),
        (ImportOptions, {"video": "/v", "directory": "/d", "crop": [1, 2]}, "'crop'"),
        (RenderOptions, {"avatar": "/a", "performance": "/p", "output": "/o", "width": 10**6}, "'width'"),
    ],
)
def test_wrong_options_are_named(model: Any, values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        validated(model, values, "The job", ABSOLUTE)


def test_relative_paths_are_fine_on_the_command_line() -> None:
    assert validated(TrainOptions, {"directory": "clip", "output": "a"}, "train").directory == Path("clip")


# --- small functions


def test_eta() -> None:
    now = [0.0]
    clock = EtaClock(lambda: now[0])
    assert clock.estimate("a", 500, 1000) is None  # resumed: what was done before tells nothing of the speed
    now[0] = 10.0
    assert clock.estimate("a", 600, 1000) == pytest.approx(40)
    assert clock.estimate("b", 0, 10) is None
    now[0] = 11.0
    assert clock.estimate("b", 5, 10) == pytest.approx(1)
    assert clock.estimate("b", 10, 10) == pytest.approx(0)


def test_avatar_name() -> None:
    for given, want in (
        ("a", "a.avatar.npz"),
        ("a.npz", "a.avatar.npz"),
        ("v1.2", "v1.2.avatar.npz"),
        ("a.avatar.npz", "a.avatar.npz"),
    ):
        assert avatar_name(Path("x") / given) == Path("x") / want


def test_backgrounds() -> None:
    assert parse_background(None, is_video=False) is None
    assert parse_background(None, is_video=True) == (1, 1, 1)
    assert parse_background("transparent", is_video=False) is None
    assert parse_background("#ff0000", is_video=True) == (1, 0, 0)
    assert parse_background("0.5,0,1", is_video=True) == (0.5, 0, 1)
    assert parse_background((0, 0, 0), is_video=True) == (0, 0, 0)
    for bad in ("pink-ish", "#ff", "1,2", "2,0,0", "nan,0,0"):
        with pytest.raises(InputError, match="background"):
            parse_background(bad, is_video=False)
    with pytest.raises(InputError, match="transparency"):
        parse_background("transparent", is_video=True)


def test_straight_alpha() -> None:
    rgba = np.array([[[0.25, 0, 0, 0.5], [0, 0, 0, 0], [1, 1, 1, 1], [0.7, 0.1, 0, 0.5]]], np.float32)
    np.testing.assert_array_equal(to_straight8(rgba)[0], [[128, 0, 0, 128], [0, 0, 0, 0], [255] * 4, [255, 51, 0, 128]])


def test_plain_values() -> None:
    mixed = {1: np.float32(2), "p": Path("x"), "n": math.nan, "a": np.arange(2), "t": (np.bool_(True), None)}
    assert plain(mixed) == {"1": 2.0, "p": "x", "n": None, "a": [0, 1], "t": [True, None]}


def performance(frames: int, fps: float = 25.0) -> Performance:
    zeros = np.zeros((frames, 3), np.float32)
    return Performance(
        "builtin", "builtin", 64, 64, np.arange(frames) / fps, np.ones(frames, bool), np.zeros(2, np.float32),
        np.zeros((4, 3), np.float32), np.arange(frames, dtype=np.float32)[:, None], zeros, zeros, zeros,
        np.zeros((frames, 2, 3), np.float32), np.zeros((frames, 2), np.float32), zeros, np.eye(3, dtype=np.float32),
        np.eye(4, dtype=np.float32),
    )  # fmt: skip


def test_part_of_a_performance() -> None:
    whole = performance(10, 30.0)
    part = part_of(whole, 4, 3)
    assert part.frame_count == 3 and part.expression[:, 0].tolist() == [4, 5, 6]
    assert part_of(whole, 8, None).frame_count == 2
    assert part_of(whole, 8, 100).frame_count == 2
    assert performance_fps(whole) == pytest.approx(30.0)
    assert performance_fps(part_of(whole, 0, 1)) == 25.0
    with pytest.raises(InputError, match=r"10 frames \(0 to 9\)"):
        part_of(whole, 10, 1)
