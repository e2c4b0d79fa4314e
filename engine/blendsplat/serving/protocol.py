# SPDX-License-Identifier: Apache-2.0
"""The wire format of docs/formats.md: length-prefixed JSON-RPC 2.0 with raw array attachments, checked on the way in.

Two kinds of failure are kept apart: FramingError (the stream can no longer be followed: close it) and MessageError
(one message was bad, the next one can still be read: answer it with an error and go on).
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from blendsplat.errors import BlendsplatError

PROTOCOL_VERSION = 1
MAX_JSON_BYTES = 16 * 2**20
MAX_ATTACHMENT_BYTES = 4 * 2**30
_DTYPE_NAMES = ("uint8", "int32", "int64", "float16", "float32", "float64", "bool")
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in _DTYPE_NAMES}

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602

_HEADER = struct.Struct("<IQ")
_CHUNK = 2**20
_MAX_DIMENSIONS = 32


class FramingError(BlendsplatError):
    """The stream broke off inside a message, or announced more than the limits: nothing after it can be trusted."""

    code = "protocol"


class MessageError(BlendsplatError):
    """One message was bad, the framing survived. ``rpc_code`` is JSON-RPC's, ``request_id`` the sender's or None."""

    code = "protocol"

    def __init__(self, sentence: str, rpc_code: int = INVALID_REQUEST, request_id: Any = None) -> None:
        super().__init__(sentence)
        self.rpc_code = rpc_code
        self.request_id = request_id


class ByteSource(Protocol):
    """A binary stream to read from."""

    def read(self, size: int, /) -> bytes | None: ...


@dataclass
class Message:
    """One JSON-RPC object (without its ``attachments`` list) and the arrays that came with it, by name."""

    body: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def encode_message(body: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> list[bytes | memoryview]:
    """Encode a message as chunks to be written one after the other (arrays are not copied when already C-order LE).

    Raises ValueError for values JSON does not know (NaN), TypeError for other dtypes, MessageError above the limits.
    """
    payload: list[memoryview] = []
    listed = []
    for name, array in (arrays or {}).items():
        if array.dtype.name not in DTYPES:
            raise TypeError(f"The attachment {name!r} has dtype {array.dtype}, which the protocol does not carry.")
        plain = np.asarray(array, dtype=DTYPES[array.dtype.name], order="C")
        listed.append({"name": name, "dtype": array.dtype.name, "shape": list(plain.shape)})
        payload.append(plain.reshape(-1).view(np.uint8).data)
    if listed:
        body = {**body, "attachments": listed}
    # ASCII escapes: a lone surrogate in a file name must not make an answer impossible
    text = json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")
    size = sum(part.nbytes for part in payload)
    if len(text) > MAX_JSON_BYTES or size > MAX_ATTACHMENT_BYTES:
        raise MessageError("The message is larger than the protocol allows; ask for less at once.", INVALID_PARAMS)
    return [_HEADER.pack(len(text), size), text, *payload]


def read_message(stream: ByteSource) -> Message | None:
    """Read one message; None at a clean end of file (between messages).

    Raises FramingError (close the stream) or MessageError (the message was consumed; the next can be read).
    """
    header = _read_exactly(stream, _HEADER.size, may_end=True)
    if header is None:
        return None
    json_size, attachment_size = _HEADER.unpack(header)
    if json_size > MAX_JSON_BYTES or attachment_size > MAX_ATTACHMENT_BYTES:
        raise FramingError(
            f"A message announced {json_size} bytes of JSON and {attachment_size} of attachments, more than the "
            "protocol allows: the other side does not speak it, or something else was written into the pipe."
        )
    text = _read_exactly(stream, json_size)
    payload = _read_exactly(stream, attachment_size)
    body = _parse(bytes(text or b""))
    try:
        arrays = _split_attachments(body.pop("attachments", []), payload or bytearray())
    except MessageError as error:
        error.request_id = _plain_id(body)
        raise
    return Message(body, arrays)


def _read_exactly(stream: ByteSource, size: int, may_end: bool = False) -> bytearray | None:
    """``size`` bytes, grown as they arrive so that a false length cannot reserve gigabytes."""
    data = bytearray()
    while len(data) < size:
        piece = stream.read(min(size - len(data), _CHUNK))
        if not piece:
            if may_end and not data:
                return None
            raise FramingError(f"The stream ended inside a message ({len(data)} of {size} bytes).")
        data += piece
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse(text: bytes) -> dict[str, Any]:
    try:
        body = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"The message is not JSON: {error}.", PARSE_ERROR) from error
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0":
        raise MessageError("The message is not a JSON-RPC 2.0 object.")
    return body


def _plain_id(body: dict[str, Any]) -> Any:
    value = body.get("id")
    return value if isinstance(value, (str, int)) and not isinstance(value, bool) else None


def _split_attachments(listed: Any, payload: bytearray) -> dict[str, np.ndarray]:
    """The payload cut into arrays (writable, aligned views or copies)."""
    if not isinstance(listed, list):
        raise MessageError("'attachments' must be a list.")
    arrays: dict[str, np.ndarray] = {}
    offset = 0
    for entry in listed:
        name, dtype, shape = _checked_entry(entry)
        if name in arrays:
            raise MessageError(f"The attachment {name!r} appears twice.")
        count = math.prod(shape)
        end = offset + count * dtype.itemsize
        if end > len(payload):
            raise MessageError(f"The attachment {name!r} of shape {shape} is longer than the bytes that came with it.")
        flat = np.frombuffer(payload, dtype, count, offset) if count else np.empty(0, dtype)
        arrays[name] = np.require(flat.reshape(shape), requirements=["ALIGNED", "WRITEABLE"])
        offset = end
    if offset != len(payload):
        raise MessageError(f"{len(payload)} bytes of attachments came, but the list describes {offset}.")
    return arrays


def _checked_entry(entry: Any) -> tuple[str, np.dtype, tuple[int, ...]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise MessageError("Every attachment needs a name, a dtype and a shape.")
    name, dtype, shape = entry["name"], entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise MessageError(f"The attachment {name!r} has dtype {dtype!r}; known are {', '.join(DTYPES)}.")
    if not isinstance(shape, list) or not _is_shape(shape):
        raise MessageError(f"The attachment {name!r} has the shape {str(shape)[:80]}, which is not one of an array.")
    return name, DTYPES[dtype], tuple(shape)


def _is_shape(shape: list[Any]) -> bool:
    """Within numpy's own limits too: the number of axes, and its index type."""
    if len(shape) > _MAX_DIMENSIONS:
        return False
    plain = all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape)
    return plain and math.prod(max(size, 1) for size in shape) < 2**48
