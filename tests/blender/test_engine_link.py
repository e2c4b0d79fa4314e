# SPDX-License-Identifier: Apache-2.0
"""The engine process as the add-on sees it: good, silent, wrong and dying ones. Nothing may hang or crash."""

from __future__ import annotations

import io
import os
import shlex
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from blender_addon.client import link as engine_link
from blender_addon.client import wire
from blender_addon.client.link import EngineError, Link, LinkError

FAKE = Path(__file__).with_name("fake_engine.py")


def command(bad: str = "") -> list[str]:
    return [sys.executable, str(FAKE), bad]


@pytest.fixture
def link():
    link = Link()
    yield link
    link.stop(0.5)


def until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_hello_and_arrays(link, tmp_path):
    link.start(command(), tmp_path / "log" / "engine.log")
    link.wait_ready(20)
    assert link.hello["version"] == "fake"
    arrays = {
        "means": np.array([[0.5, -0.25, 2.0]]), "colors": np.array([[0.1, 0.2, 0.3]]), "viewmat": np.eye(4),
        "K": np.array([[4.0, 0, 4], [0, 4, 3], [0, 0, 1]]),
    }  # fmt: skip
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    _, answer = link.request("render.gaussians", {"width": 8, "height": 6}, arrays).wait(10)
    assert answer["image"].shape == (6, 8, 3)
    np.testing.assert_allclose(answer["image"][2, 5], [0.1, 0.2, 0.3], rtol=1e-6)
    assert answer["depth"][2, 5, 0] == 2.0


def test_an_error_is_a_sentence(link, tmp_path):
    link.start(command(), tmp_path / "log")
    link.wait_ready(20)
    with pytest.raises(EngineError, match="It broke"):
        link.request("render.gaussians", {}).wait(10)
    link.request("ping").wait(10)  # and the engine still answers


@pytest.mark.parametrize(
    ("bad", "words"),
    [("old", "protocol 99"), ("garbage", "login greeting")],
)
def test_what_is_not_our_engine_is_said(link, tmp_path, bad, words):
    link.start(command(bad), tmp_path / "log")
    with pytest.raises(LinkError, match=words):
        link.wait_ready(20)
    assert link.state == "failed"


def test_silence_ends(link, tmp_path, monkeypatch):
    monkeypatch.setattr(engine_link, "HELLO_SECONDS", 0.3)
    link.start(command("mute"), tmp_path / "log")
    with pytest.raises(LinkError, match="did not answer within"):
        link.wait_ready(20)


def test_an_engine_that_falls_silent_is_noticed(link, tmp_path, monkeypatch):
    monkeypatch.setattr(engine_link, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(engine_link, "SILENCE_SECONDS", 0.5)
    link.start(command("deaf"), tmp_path / "log")
    link.wait_ready(20)
    pending = link.request("render.gaussians", {})

    def beaten() -> bool:
        link.beat()
        return link.state == "failed"

    until(beaten)
    with pytest.raises(LinkError, match="has not answered"):
        pending.wait(1)


def test_a_stop_ends_a_wait(link, tmp_path):
    link.start(command("deaf"), tmp_path / "log")
    link.wait_ready(20)
    with pytest.raises(LinkError, match="Stopped"):
        link.request("ping").wait(60, stop=lambda: True)


def test_a_killed_engine_is_said_and_can_be_started_again(link, tmp_path):
    link.start(command(), tmp_path / "log")
    link.wait_ready(20)
    pending = link.request("job.start", {"kind": "none", "params": {}})
    os.kill(link._process.pid, signal.SIGKILL)
    until(lambda: link.state == "failed")
    assert "memory" in link.sentence
    with pytest.raises((LinkError, EngineError)):
        pending.wait(2)
        raise LinkError("it was answered before it died")
    link.start(command(), tmp_path / "log", patient=False)
    link.wait_ready(20)


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="this system has no SIGPIPE")
def test_a_dead_engine_ends_nobody_who_writes_to_it(tmp_path):
    """With SIGPIPE's default action, as in Blender 4.3 (this Python ignores it); tests/ui does it in Blender itself."""
    script = Path(__file__).with_name("killed_engine.py")
    words = [sys.executable, str(script), "--", shlex.join(command("deaf")), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180)
    assert "SIGPIPE: 0" in done.stdout, done.stderr
    assert done.returncode == 0 and "still alive" in done.stdout, f"status {done.returncode}: {done.stderr}"


def test_back_off(link, tmp_path):
    for _ in range(3):
        with pytest.raises(LinkError, match="cannot be started"):
            link.start(["/no/such/engine"], tmp_path / "log", patient=False)
    with pytest.raises(LinkError, match="Next attempt in"):
        link.start(["/no/such/engine"], tmp_path / "log")


def test_a_python_without_the_engine(link, tmp_path):
    link.start([sys.executable, "-I", "-c", "import blendsplat_is_absent.blendsplat"], tmp_path / "log")
    with pytest.raises(LinkError, match=r"ended with status 1|no Blendsplat engine"):
        link.wait_ready(20)


def test_stopping_ends_the_process(link, tmp_path):
    link.start(command(), tmp_path / "log")
    link.wait_ready(20)
    process = link._process
    link.stop(10)
    assert process.wait(10) == 0  # by itself, at the end of its input
    assert link.state == "off"


@pytest.mark.parametrize("code", [1, 2, 126, 127, 137, 139, 143, 255, -9, -11, -15, 0, 3221225477])
def test_every_exit_status_is_a_sentence(code):
    sentence = engine_link.exit_sentence(code)
    assert sentence.endswith(".") and len(sentence) > 20
    assert "checkpoint" not in sentence, "a render has none"


def test_missing_module_sentence():
    assert "no Blendsplat engine" in engine_link.exit_sentence(1, "/usr/bin/python: No module named blendsplat")


def random_messages(rng):
    for _ in range(200):
        yield rng.bytes(int(rng.integers(0, 80)))
        text = rng.bytes(int(rng.integers(0, 30)))
        yield struct.pack("<IQ", len(text), 0) + text
        body = b'{"attachments": [{"name": "a", "dtype": "float32", "shape": [%d]}]}' % rng.integers(-3, 9)
        yield struct.pack("<IQ", len(body), 12) + body + b"x" * 12


def test_nonsense_on_the_pipe_is_refused_and_nothing_else(rng=np.random.default_rng(0)):
    for data in random_messages(rng):
        stream = io.BytesIO(data)
        try:
            while wire.decode(stream.read) is not None:
                pass
        except wire.WireError:
            pass


def test_messages_survive_the_round_trip():
    arrays = {
        "a": np.arange(6, dtype=np.int32).reshape(2, 3),
        "b": np.zeros((0, 3), np.float32),
        "c": np.float64(3.0).reshape(()),
    }
    chunks = wire.encode({"id": 1, "text": "ä"}, {**arrays, "f": np.asfortranarray(np.eye(3, dtype=np.float32) * 2)})
    message = wire.decode(io.BytesIO(b"".join(chunks)).read)
    assert message.body == {"id": 1, "text": "ä"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(message.arrays[name], array)
