# SPDX-License-Identifier: Apache-2.0
"""A real ``python -m blendsplat serve``: what Blender sees of it, including its ends."""

from __future__ import annotations

import io
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import blendsplat
from blendsplat.serving.protocol import FramingError, read_message
from engine_client import EngineProcess, engine_environment


def test_hello_describes_the_engine(engine: EngineProcess, tmp_path: Path) -> None:
    hello = engine.call("hello", protocol=1, client="test")
    assert hello["protocol"] == 1 and hello["version"] == blendsplat.__version__
    assert hello["python"].split(".")[0] == "3" and hello["torch"]
    assert hello["devices"][0]["id"] == "cpu" and hello["devices"][0]["name"]
    assert set(hello["kernels"]) == {"cpu", "cuda"}
    assert {"draft", "rgbavatar"} <= {preset["name"] for preset in hello["presets"]}
    assert [preset["name"] for preset in hello["presets"] if preset["live"]] == ["live"]
    assert all(preset["title"] and preset["description"] for preset in hello["presets"])
    assert hello["heads"][0]["name"] == "human"
    assert Path(hello["log"]).parent == tmp_path and Path(hello["log"]).is_file()
    assert engine.close() == 0


def test_an_older_or_newer_client_still_gets_the_version(engine: EngineProcess) -> None:
    assert engine.call("hello", protocol=99)["protocol"] == 1


def test_ping_cancel_and_queue_while_a_job_runs(engine: EngineProcess) -> None:
    first = engine.start("selftest", seconds=60, steps=600)
    second = engine.start("selftest", seconds=0, steps=1)
    assert set(engine.call("ping")["jobs"]) == {first, second}
    while not engine.notes("job.progress", first):
        engine.step()
    listed = {job["job"]: job for job in engine.call("job.list")["jobs"]}
    assert listed[first]["state"] == "running" and listed[second]["state"] == "queued"
    assert listed[first]["total"] == 600 and listed[first]["stage"] == "counting"

    assert engine.call("job.cancel", job=first)["state"] == "cancelling"
    ended = engine.finished(first)
    assert ended["state"] == "cancelled" and ended["error"]["data"]["code"] == "cancelled" and ended["result"] is None
    assert engine.finished(second)["state"] == "done"
    assert engine.call("job.cancel", job=first)["state"] == "cancelled"
    assert "no job" in engine.error("job.cancel", job="job-99")["message"]


def test_progress_is_ordered_limited_and_complete(engine: EngineProcess) -> None:
    begin = time.monotonic()
    job = engine.start("selftest", seconds=1.5, steps=1500, preview=True)
    assert engine.finished(job)["result"] == {"steps": 1500}
    elapsed = time.monotonic() - begin
    counts = [m.body["params"]["done"] for m in engine.notes("job.progress", job)]
    assert counts == sorted(counts) and counts[-1] == 1500
    assert len(counts) <= elapsed * 10 + 3
    previews = engine.notes("job.preview", job)
    assert 5 <= len(previews) <= elapsed * 10 + 1
    assert previews[0].arrays["image"].shape == (8, 8, 3)
    assert engine.seen[-1].body["method"] == "job.finished"


def test_noise_on_standard_output_goes_to_the_log(engine: EngineProcess) -> None:
    job = engine.start("selftest", seconds=0, steps=50, noise="NOISE {}\r\n\0")
    assert engine.finished(job)["state"] == "done"
    assert engine.close() == 0
    assert engine.stderr_path.read_bytes().count(b"NOISE") >= 100


@pytest.mark.parametrize(
    ("fail", "code", "words"),
    [
        ("expected", "input", "asked to fail"),
        ("unexpected", "internal", "RuntimeError.*log"),
        ("memory", "memory", "memory"),
    ],
)
def test_a_failing_job_tells_why_and_the_engine_lives(engine: EngineProcess, fail: str, code: str, words: str) -> None:
    ended = engine.finished(engine.start("selftest", seconds=0, steps=4, fail=fail))
    assert ended["state"] == "failed" and ended["error"]["data"]["code"] == code
    assert re.search(words, ended["error"]["message"])
    assert ("Traceback" in ended["error"]["data"]["detail"]) == (fail != "expected")
    assert engine.finished(engine.start("selftest", seconds=0, steps=1))["state"] == "done"


def test_a_job_that_takes_the_process_down(engine: EngineProcess) -> None:
    job = engine.start("selftest", seconds=0.2, steps=4, fail="exit")
    with pytest.raises((AssertionError, FramingError)):
        engine.finished(job)
    assert engine.process.wait(30) == 86


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_kill_in_the_middle_of_a_job(engine: EngineProcess) -> None:
    job = engine.start("selftest", seconds=60, steps=600)
    while not engine.notes("job.progress", job):
        engine.step()
    engine.process.kill()
    assert engine.process.wait(30) == -signal.SIGKILL
    with pytest.raises((AssertionError, FramingError, BrokenPipeError)):
        engine.finished(job)


def test_end_of_file_cancels_the_job_and_ends_with_zero(engine: EngineProcess) -> None:
    job = engine.start("selftest", seconds=60, steps=6000)
    while not engine.notes("job.progress", job):
        engine.step()
    engine.process.stdin.close()
    assert engine.finished(job)["state"] == "cancelled"
    assert engine.process.wait(30) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_terminate_cancels_the_job_and_ends_with_zero(engine: EngineProcess) -> None:
    job = engine.start("selftest", seconds=60, steps=6000)
    while not engine.notes("job.progress", job):
        engine.step()
    engine.process.terminate()
    assert engine.finished(job)["state"] == "cancelled"
    assert engine.process.wait(30) == 0


def test_shutdown_answers_then_ends(engine: EngineProcess) -> None:
    assert engine.call("shutdown") == {}
    assert engine.process.wait(30) == 0


def test_broken_output_pipe_ends_the_engine(engine: EngineProcess) -> None:
    engine.call("ping")
    engine.source.close()
    engine.send("ping")
    assert engine.process.wait(30) == 0


def test_a_reader_that_sleeps_does_not_stop_the_engine(engine: EngineProcess) -> None:
    """Nobody reads, the pipe fills; the engine reads on and finishes its job."""
    job = engine.start("selftest", seconds=0, steps=3000, noise="x" * 200)
    for _ in range(3000):
        engine.send("ping")
    last = engine.send("ping")
    time.sleep(0.5)
    assert engine.finished(job)["state"] == "done"
    assert "jobs" in engine.answer(last).body["result"]


@pytest.mark.parametrize(
    "garbage",
    [b"Welcome to gpu-box!\nLast login: today\n", struct.pack("<IQ", 2**31, 0), struct.pack("<IQ", 100, 0) + b"{"],
)
def test_broken_framing_is_told_and_ends_the_engine(tmp_path: Path, garbage: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "blendsplat", "serve"], input=garbage, capture_output=True, timeout=120,
        env=engine_environment(tmp_path),
    )  # fmt: skip
    assert done.returncode == 65
    message = read_message(io.BytesIO(done.stdout))
    assert message is not None and message.body["id"] is None
    assert message.body["error"]["data"]["code"] == "protocol"


def test_bad_messages_are_answered_and_the_connection_lives(engine: EngineProcess) -> None:
    for text in (
        b"{",
        b"[]",
        b'{"jsonrpc":"2.0","id":5,"method":"ping","attachments":[{"name":"a","dtype":"evil","shape":[1]}]}',
    ):
        engine.write(struct.pack("<IQ", len(text), 0) + text)
    assert engine.step().body["error"]["code"] == -32700
    assert engine.step().body["error"]["code"] == -32600
    wrong = engine.step().body
    assert wrong["id"] == 5 and "evil" in wrong["error"]["message"]
    assert engine.error("no.such")["code"] == -32601
    assert engine.error("job.start", kind="dance", params={})["code"] == -32602
    assert engine.call("ping")["jobs"] == []


def test_a_folder_with_spaces_and_other_alphabets(tmp_path: Path) -> None:
    folder = tmp_path / "Grüße an 影 folder"
    folder.mkdir()
    engine = EngineProcess(folder)
    hello = engine.call("hello", protocol=1)
    assert Path(hello["log"]).parent == folder
    sentence = engine.error("avatar.describe", path=str(folder / "Ä b.avatar.npz"))["message"]
    assert "Ä b.avatar.npz" in sentence
    assert engine.close() == 0


def test_weights_are_described(server):
    described = server.call("weights.describe", weights="none")
    assert described["usable"] and "landmarks" in described["sentence"]
    assert "neither a folder" in server.error("weights.describe", weights="nothing-of-the-kind")["message"]
