# SPDX-License-Identifier: Apache-2.0
"""The wire format: what is written can be read, and nothing that arrives breaks the reader."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blendsplat.serving.protocol import (
    DTYPES,
    MAX_ATTACHMENT_BYTES,
    MAX_JSON_BYTES,
    PARSE_ERROR,
    FramingError,
    MessageError,
    encode_message,
    read_message,
)


def packed(body: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> bytes:
    return b"".join(bytes(chunk) for chunk in encode_message(body, arrays))


def raw(text: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("<IQ", len(text), len(payload)) + text + payload


def with_attachments(listed: Any, payload: bytes = b"") -> bytes:
    return raw(json.dumps({"jsonrpc": "2.0", "id": 7, "method": "x", "attachments": listed}).encode(), payload)


ANY_ARRAY = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: hnp.arrays(np.dtype(name), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(arrays=st.dictionaries(st.text(max_size=8), ANY_ARRAY, max_size=4), params=st.dictionaries(st.text(), ANY_JSON))
@settings(deadline=None, max_examples=100)
def test_roundtrip(arrays: dict[str, np.ndarray], params: dict[str, Any]) -> None:
    data = packed({"jsonrpc": "2.0", "id": 1, "method": "m", "params": params}, arrays)
    stream = io.BytesIO(data + data)
    for _ in range(2):
        message = read_message(stream)
        assert message is not None
        assert message.body == {"jsonrpc": "2.0", "id": 1, "method": "m", "params": params}
        assert list(message.arrays) == list(arrays)
        for name, array in arrays.items():
            got = message.arrays[name]
            assert got.dtype == array.dtype and got.shape == array.shape
            assert got.flags.writeable and got.flags.aligned
            np.testing.assert_array_equal(
                got.view(np.uint8) if got.ndim else got, array.view(np.uint8) if array.ndim else array
            )
    assert read_message(stream) is None


def test_memory_layouts() -> None:
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    layouts = {
        "fortran": np.asfortranarray(base), "reversed": base[::-1, :, ::2], "transposed": base.T,
        "big endian": base.astype(">f4"), "scalar": np.float64(3.5)[...], "empty": base[:0],
        "broadcast": np.broadcast_to(base[:1], (5, 3, 4)),
    }  # fmt: skip
    message = read_message(io.BytesIO(packed({"jsonrpc": "2.0"}, {n: np.asarray(a) for n, a in layouts.items()})))
    assert message is not None
    for name, array in layouts.items():
        np.testing.assert_array_equal(message.arrays[name], array, err_msg=name)
        assert message.arrays[name].shape == array.shape
        assert message.arrays[name].dtype.isnative


def test_unaligned_attachments_are_copied_to_aligned_memory() -> None:
    arrays = {"odd": np.ones(3, np.uint8), "floats": np.arange(5, dtype=np.float64)}
    message = read_message(io.BytesIO(packed({"jsonrpc": "2.0"}, arrays)))
    assert message is not None and message.arrays["floats"].flags.aligned
    np.testing.assert_array_equal(message.arrays["floats"], arrays["floats"])


def test_truncated_at_every_byte() -> None:
    data = packed({"jsonrpc": "2.0", "id": 1, "method": "m"}, {"a": np.arange(6, dtype=np.int32)})
    assert read_message(io.BytesIO(b"")) is None
    for size in range(1, len(data)):
        with pytest.raises(FramingError, match="ended inside"):
            read_message(io.BytesIO(data[:size]))


class Dripping(io.RawIOBase):
    """A pipe that gives one byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(1)


def test_bytes_may_arrive_one_by_one() -> None:
    message = read_message(Dripping(packed({"jsonrpc": "2.0", "id": 1}, {"a": np.arange(9.0)})))
    assert message is not None
    np.testing.assert_array_equal(message.arrays["a"], np.arange(9.0))


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=100)
def test_random_bytes_end_in_a_known_error(data: bytes) -> None:
    try:
        message = read_message(io.BytesIO(data))
        assert message is None or isinstance(message.body, dict)
    except (FramingError, MessageError) as error:
        assert error.sentence


@given(st.binary(max_size=120), st.binary(max_size=40))
@settings(deadline=None, max_examples=100)
def test_framing_survives_any_json(text: bytes, payload: bytes) -> None:
    stream = io.BytesIO(raw(text, payload) + packed({"jsonrpc": "2.0", "id": "next"}))
    with pytest.raises(MessageError):
        read_message(stream)
    message = read_message(stream)
    assert message is not None and message.body["id"] == "next"


@given(ANY_JSON, st.binary(max_size=24))
@settings(deadline=None, max_examples=100)
def test_framing_survives_any_attachment_list(listed: Any, payload: bytes) -> None:
    stream = io.BytesIO(with_attachments(listed, payload) + packed({"jsonrpc": "2.0", "id": "next"}))
    try:
        read_message(stream)
    except MessageError as error:
        assert error.request_id == 7
    message = read_message(stream)
    assert message is not None and message.body["id"] == "next"


@pytest.mark.parametrize(
    ("json_size", "attachment_size"), [(MAX_JSON_BYTES + 1, 0), (2, MAX_ATTACHMENT_BYTES + 1), (2**32 - 1, 2**64 - 1)]
)
def test_announced_sizes_above_the_limits(json_size: int, attachment_size: int) -> None:
    with pytest.raises(FramingError, match="more than the protocol"):
        read_message(io.BytesIO(struct.pack("<IQ", json_size, attachment_size) + b"{}"))


def test_a_false_length_reserves_nothing() -> None:
    with pytest.raises(FramingError):  # 4 GiB announced, three bytes sent
        read_message(io.BytesIO(struct.pack("<IQ", 2, MAX_ATTACHMENT_BYTES) + b"{}..."))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{", PARSE_ERROR), (b"\xff\xfe{}", PARSE_ERROR), ("{}".encode("utf-16"), PARSE_ERROR),
        (b'{"jsonrpc":"2.0","x":NaN}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","x":-Infinity}', PARSE_ERROR), (b"[" * 100_000, PARSE_ERROR), (b"", PARSE_ERROR),
        (b'{"jsonrpc":"2.0","x":' + b"9" * 10_000 + b"}", PARSE_ERROR),
        (b"[]", -32600), (b"{}", -32600), (b"7", -32600),
    ],
)  # fmt: skip
def test_bad_json(text: bytes, code: int) -> None:
    with pytest.raises(MessageError) as caught:
        read_message(io.BytesIO(raw(text)))
    assert caught.value.rpc_code == code


@pytest.mark.parametrize(
    ("entry", "payload", "words"),
    [
        ({"name": "a", "dtype": "object", "shape": [1]}, b"12345678", "dtype 'object'"),
        ({"name": "a", "dtype": "float128", "shape": [1]}, b"1" * 16, "float128"),
        ({"name": "a", "dtype": ["uint8"], "shape": [1]}, b"1", "dtype"),
        ({"name": "a", "dtype": "uint8", "shape": [-1]}, b"", r"\[-1\]"),
        ({"name": "a", "dtype": "uint8", "shape": [-1, -1]}, b"1", "shape"),
        ({"name": "a", "dtype": "uint8", "shape": [True]}, b"1", "shape"),
        ({"name": "a", "dtype": "uint8", "shape": [1.0]}, b"1", "shape"),
        ({"name": "a", "dtype": "uint8", "shape": 1}, b"1", "shape"),
        ({"name": "a", "dtype": "uint8", "shape": [1] * 40}, b"1", "shape"),
        ({"name": "a", "dtype": "uint8", "shape": [2**62, 4]}, b"", "shape"),
        ({"name": "a", "dtype": "uint8", "shape": [0, 2**63]}, b"", "shape"),
        ({"name": "a", "dtype": "float32", "shape": [2]}, b"1234567", "longer than the bytes"),
        ({"name": "a", "dtype": "float32", "shape": [2]}, b"123456789", "describes 8"),
        ({"dtype": "float32", "shape": [0]}, b"", "needs a name"),
        ("a", b"", "needs a name"),
    ],
)
def test_bad_attachments(entry: Any, payload: bytes, words: str) -> None:
    with pytest.raises(MessageError, match=words) as caught:
        read_message(io.BytesIO(with_attachments([entry], payload)))
    assert caught.value.request_id == 7


def test_attachment_named_twice() -> None:
    entry = {"name": "a", "dtype": "uint8", "shape": [1]}
    with pytest.raises(MessageError, match="twice"):
        read_message(io.BytesIO(with_attachments([entry, entry], b"12")))


def test_writer_refuses_what_cannot_travel() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_message({"x": float("nan")})
    for array in (np.array([None]), np.array(["text"]), np.zeros(1, np.complex64), np.zeros(1, np.uint64)):
        with pytest.raises(TypeError, match="does not carry"):
            encode_message({}, {"a": array})
    with pytest.raises(MessageError, match="larger"):
        encode_message({"x": "a" * MAX_JSON_BYTES})


def test_odd_file_names_travel() -> None:
    body = {"jsonrpc": "2.0", "path": "/tmp/\udcff/Grüße 影.mp4"}
    message = read_message(io.BytesIO(packed(body)))
    assert message is not None and message.body == body
