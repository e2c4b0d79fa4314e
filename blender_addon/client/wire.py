# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire format of docs/formats.md, the add-on's side: length-prefixed JSON-RPC 2.0 with raw array attachments.

It checks whatever comes in, because a remote shell's greeting may land in the pipe. It knows numpy and nothing of bpy.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PROTOCOL_VERSION = 1
MAX_JSON_BYTES = 16 * 2**20
MAX_ATTACHMENT_BYTES = 4 * 2**30
DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("uint8", "int32", "int64", "float16", "float32", "float64", "bool")
}
_HEADER = struct.Struct("<IQ")
_CHUNK = 2**20


class WireError(Exception):
    """The stream cannot be followed any more; the connection has to be closed. The text is a sentence for the user."""


@dataclass
class Message:
    """One JSON object and the arrays that came with it."""

    body: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def encode(body: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> list[bytes]:
    """A message as chunks to write one after the other. Raises WireError above the protocol's limits."""
    listed, payload = [], []
    for name, array in (arrays or {}).items():
        plain = np.ascontiguousarray(array, dtype=DTYPES[array.dtype.name])
        listed.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape)})
        payload.append(plain.tobytes())
    if listed:
        body = {**body, "attachments": listed}
    text = json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")
    size = sum(map(len, payload))
    if len(text) > MAX_JSON_BYTES or size > MAX_ATTACHMENT_BYTES:
        raise WireError("This is more than one message to the engine may hold.")
    return [_HEADER.pack(len(text), size) + text, *payload]


def decode(read: Callable[[int], bytes]) -> Message | None:
    """Read one message with ``read(size)``; None at a clean end of the stream. Raises WireError."""
    header = _exactly(read, _HEADER.size, may_end=True)
    if header is None:
        return None
    json_size, attachment_size = _HEADER.unpack(header)
    if json_size > MAX_JSON_BYTES or attachment_size > MAX_ATTACHMENT_BYTES:
        raise WireError(
            "The engine command wrote something else than the engine's protocol (a login greeting, perhaps); "
            "it begins with " + repr(bytes(header)) + "."
        )
    text = _exactly(read, json_size)
    payload = _exactly(read, attachment_size)
    try:
        body = json.loads(bytes(text).decode("utf-8"))
        if not isinstance(body, dict):
            raise ValueError("not an object")
        return Message(body, _arrays(body.pop("attachments", []), payload))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WireError(f"The engine sent a message that cannot be read ({error}).") from error


def _exactly(read: Callable[[int], bytes], size: int, may_end: bool = False) -> bytearray | None:
    """``size`` bytes, grown as they arrive so that a false length cannot reserve gigabytes."""
    data = bytearray()
    while len(data) < size:
        piece = read(min(size - len(data), _CHUNK))
        if not piece:
            if may_end and not data:
                return None
            raise WireError("The engine ended in the middle of a message.")
        data += piece
    return data


def _arrays(listed: list[dict[str, Any]], payload: bytearray) -> dict[str, np.ndarray]:
    arrays, offset = {}, 0
    for item in listed:
        dtype, shape = DTYPES[item["dtype"]], tuple(int(size) for size in item["shape"])
        if any(size < 0 for size in shape):
            raise ValueError("negative size")
        count = 1
        for size in shape:
            count *= size
        end = offset + count * dtype.itemsize
        if end > len(payload):
            raise ValueError("attachments are shorter than announced")
        arrays[str(item["name"])] = np.frombuffer(payload, dtype, count, offset).reshape(shape)
        offset = end
    if offset != len(payload):
        raise ValueError("attachments are longer than announced")
    return arrays
