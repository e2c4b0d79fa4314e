# SPDX-License-Identifier: Apache-2.0
"""Reads what Blender writes as OpenEXR MultiLayer, uncompressed, 32 bits: one header for all layers, or (from 5.0 on)
one for each."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

_MULTIPART = 0x1000


def channels(path: Path) -> dict[str, np.ndarray]:
    """Every channel by its name, a part's name before it where there are several: [H,W] float32."""
    data = path.read_bytes()
    several = bool(struct.unpack_from("<I", data, 4)[0] & _MULTIPART)
    place, headers = 8, []
    while data[place]:
        header, place = _header(data, place)
        headers.append(header)
        if not several:
            break
    place += several
    planes = [
        {name: np.zeros((header["height"], header["width"]), np.float32) for name in header["names"]}
        for header in headers
    ]
    chunks = sum(header["height"] for header in headers)
    for offset in struct.unpack_from(f"<{chunks}Q", data, place):
        part = struct.unpack_from("<i", data, offset)[0] if several else 0
        offset += 4 * several
        row, size = struct.unpack_from("<ii", data, offset)
        header = headers[part]
        line = np.frombuffer(data, "<f4", size // 4, offset + 8).reshape(len(header["names"]), header["width"])
        for name, values in zip(header["names"], line, strict=True):
            planes[part][name][row] = values
    return {
        f"{header['name']}.{name}": plane
        for header, part in zip(headers, planes, strict=True)
        for name, plane in part.items()
    }


def colors(path: Path) -> dict[str, np.ndarray]:
    """Every pass that has red, green, blue and alpha, by its name [H,W,4]."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, plane in channels(path).items():
        where, _, channel = name.rpartition(".")
        found.setdefault(where.rpartition(".")[2], {})[channel] = plane
    return {
        name: np.stack([part[channel] for channel in "RGBA"], -1)
        for name, part in found.items()
        if set("RGBA") <= set(part)
    }


def _header(data: bytes, place: int) -> tuple[dict, int]:
    """Name, size and channels of the header at ``place``, and where it ends."""
    found: dict = {"name": ""}
    while data[place]:
        name, place = _text(data, place)
        _, place = _text(data, place)
        (size,) = struct.unpack_from("<i", data, place)
        value, place = data[place + 4 : place + 4 + size], place + 4 + size
        if name == "compression":
            assert value == b"\0", "write it without compression"
        elif name == "name":
            found["name"] = value.decode()
        elif name == "dataWindow":
            left, top, right, bottom = struct.unpack("<4i", value)
            found["width"], found["height"] = right - left + 1, bottom - top + 1
        elif name == "channels":
            found["names"] = _channel_names(value)
    return found, place + 1


def _channel_names(value: bytes) -> list[str]:
    names, place = [], 0
    while value[place]:
        name, place = _text(value, place)
        assert struct.unpack_from("<i", value, place)[0] == 2, "write 32 bits"
        names.append(name)
        place += 16
    return names


def _text(data: bytes, place: int) -> tuple[str, int]:
    end = data.index(b"\0", place)
    return data[place:end].decode(), end + 1
