# SPDX-License-Identifier: Apache-2.0
"""The add-on has its own reader and writer of the protocol; here each reads what the other wrote."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from blendsplat.serving import protocol

WIRE = Path(__file__).resolve().parents[2] / "blender_addon" / "client" / "wire.py"
ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4), "none": np.zeros((0, 3), np.float32),
    "flags": np.array([True, False]), "half": np.ones((2, 1), np.float16), "ids": np.arange(3)[::-1].astype(np.int64),
}  # fmt: skip
BODY = {"jsonrpc": "2.0", "id": 3, "method": "m", "params": {"path": "/Grüße 影/\udcff", "x": 0.1, "n": None}}


@pytest.fixture(scope="module")
def wire() -> ModuleType:
    spec = importlib.util.spec_from_file_location("blendsplat_addon_wire", WIRE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def check(message: object) -> None:
    assert message.body == BODY  # type: ignore[attr-defined]
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(message.arrays[name], array)  # type: ignore[attr-defined]
        assert message.arrays[name].dtype == array.dtype and message.arrays[name].shape == array.shape  # type: ignore[attr-defined]


def test_engine_to_addon(wire: ModuleType) -> None:
    data = b"".join(bytes(chunk) for chunk in protocol.encode_message(BODY, ARRAYS))
    check(wire.decode(io.BytesIO(data).read))


def test_addon_to_engine(wire: ModuleType) -> None:
    check(protocol.read_message(io.BytesIO(b"".join(wire.encode(BODY, ARRAYS)))))


def test_same_version_and_limits(wire: ModuleType) -> None:
    for name in ("PROTOCOL_VERSION", "MAX_JSON_BYTES", "MAX_ATTACHMENT_BYTES"):
        assert getattr(wire, name) == getattr(protocol, name)
    assert set(wire.DTYPES) == set(protocol.DTYPES)
