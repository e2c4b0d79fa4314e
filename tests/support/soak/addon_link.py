# SPDX-License-Identifier: Apache-2.0
"""An engine that says anything, and the add-on's end of the pipe (its client, which knows nothing of Blender)."""

from __future__ import annotations

import io
import json
import queue
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from .file_kinds import addon
from .mutate import Random, flipped, odd_value, pick
from .mutate_messages import framed
from .table import Row, Share

_STREAM = 25  # messages of one engine's life


class Process:
    """An engine that has said all that it will, and ended."""

    returncode = 0
    stdin = None

    def __init__(self, said: bytes) -> None:
        self.stdout = io.BytesIO(said)

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def poll(self) -> int:
        return 0

    terminate = kill = lambda self: None


def run_addon(share: Share, target: int) -> Iterator[Row]:
    """Streams of odd messages, each with true ones among them that must arrive, or a sentence that says why not."""
    row = Row("protocol", "messages to the add-on")
    while share.wants(row.tried, target):
        wrong = _one_life(share.random)
        row.tried += _STREAM
        row.survived += _STREAM - bool(wrong)
        if wrong:
            row.failures.append(f"seed {share.seed}, stream {row.tried // _STREAM}: {wrong}")
    yield row


def _one_life(random: Random) -> str:
    """What is wrong with how the add-on took one stream."""
    link_module, inbox_module = addon("client.link"), addon("client.inbox")
    link, inbox, outbox = link_module.Link(), inbox_module.Inbox(), queue.Queue()
    messages = [_message(random, number) for number in range(_STREAM)]
    said = b"".join(messages)
    if random.random() < 0.3:
        said = pick(random, (said[: int(random.integers(len(said)))], flipped(random, said), said + b"\xff" * 20))
    link._process, link.state = process, link.state = Process(said), "ready"
    pending = [link._post("ping", {}, {}) for _ in range(3)]
    try:
        link._read_loop(process, outbox, inbox)
        if link.state != "failed" or _unshown(link.sentence):
            return f"it is {link.state} and says {link.sentence[:200]!r}"
        for one in pending:
            if not one.done:
                return "a question stays open for ever"
            try:
                one.result()
            except (link_module.EngineError, link_module.LinkError) as error:
                if _unshown(str(error)):
                    return f"it says {str(error)[:200]!r}"
        while not inbox.empty():
            body = inbox.get_nowait().body
            if not isinstance(body.get("method"), str) or not isinstance(body.get("params"), dict):
                return f"handed on: {str(body)[:100]}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _unshown(text: str) -> bool:
    """Whether a panel cannot show it: what an engine of ours says is a sentence, what another says at least a line."""
    return not text.strip() or len(text) > 1500 or any(letter in text for letter in "\n\0\udcff")


def _message(random: Random, number: int) -> bytes:
    way = random.random()
    if way < 0.3:
        body: Any = {"jsonrpc": "2.0", "id": pick(random, (1, 2, 3, 3, 99, "1", None)), "result": {"time": 1}}
        if random.random() < 0.5:
            body["error"] = pick(
                random,
                (
                    {"message": "No.", "data": {"code": "input"}},
                    odd_value(random),
                    {"message": odd_value(random), "data": odd_value(random)},
                ),
            )
    elif way < 0.7:
        method = pick(random, ("job.progress", "job.preview", "job.frame", "job.finished"))
        params = {"job": "job-1", "kind": "train", "stage": "x", "done": number, "info": {"splats": 3}, "figures": {}}
        body = {"jsonrpc": "2.0", "method": method, "params": params}
        if random.random() < 0.5:
            params[pick(random, sorted(params))] = odd_value(random)
    else:
        body = {"jsonrpc": "2.0", "id": odd_value(random), "method": odd_value(random), "params": odd_value(random)}
        body.pop(pick(random, sorted(body)))
    listed, payload = [], b""
    if random.random() < 0.3:
        array = np.zeros((2, 3), np.float32)
        listed, payload = [{"name": "image", "dtype": "float32", "shape": [2, 3]}], array.tobytes()
        if random.random() < 0.15:
            listed = pick(
                random,
                (
                    odd_value(random),
                    [odd_value(random)],
                    [{**listed[0], "shape": odd_value(random)}],
                    [{**listed[0], "shape": [2**40]}],
                    listed * 2,
                    [{**listed[0], "name": odd_value(random)}],
                ),
            )
        body["attachments"] = listed
    if way > 0.995:
        return pick(
            random,
            (b"Last login: Mon\n", struct.pack("<IQ", 2**31, 0), framed(b"[1]"), framed(b"{"), framed(b"[" * 90_000)),
        )
    return framed(json.dumps(body).encode("utf-8", "surrogatepass"), payload)
