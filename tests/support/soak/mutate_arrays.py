# SPDX-License-Identifier: Apache-2.0
"""Mutators of numpy's files: members of an archive, headers that lie, numbers that are none, archives that explode."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from functools import cache
from typing import Any

import numpy as np

from .hostile_pickles import Touch
from .mutate import Random, damaged, odd_json, pick

_SHAPES = (
    "()",
    "(0,)",
    "(1,)",
    "(-1,)",
    "(3, -1)",
    "(1000000000000,)",
    "(4000000000,)",
    "(0, 9999999999)",
    "(2, 2, 2)",
    "(True,)",
    "('x',)",
    "((((1,),),),)",
    "(1.5,)",
    "(" + "1," * 70 + ")",
    "(100000, 100000)",
    "(300000000,)",
)
_DTYPES = (
    "'<f4'",
    "'>f8'",
    "'<f2'",
    "'|O'",
    "'<U5'",
    "'|S3'",
    "'<c16'",
    "'<M8[s]'",
    "'?'",
    "'<i1'",
    "'|V8'",
    "'<f16'",
    "[('a', '<f4'), ('b', '<i2')]",
    "'nothing'",
    "'<U1000000000'",
    "None",
    "('<f4', (1000000,))",
    "'<u8'",
)
BOMB_BYTES = 5 * 2**27  # zeros that one member unpacks to


def odd_npz(random: Random, data: bytes) -> bytes:
    """An archive with members that are missing, doubled, exchanged, of other types, shapes and values."""
    members = _members(data)
    if not members or random.random() < 0.2:
        return damaged(random, data)
    if random.random() < 0.004:
        return bomb(pick(random, sorted(members)).encode(), data)
    listed = list(members.items())
    for _ in range(int(random.integers(1, 3))):
        place = int(random.integers(len(listed)))
        name, content = listed[place]
        way = random.random()
        if name == "meta.npy" and way < 0.8:
            listed[place] = name, _text_member(odd_json(random, _array(content).tobytes()))
        elif way < 0.55:
            listed[place] = name, odd_npy(random, content)
        elif way < 0.65:
            del listed[place]
        elif way < 0.75:
            listed.insert(place, (name, odd_npy(random, content)))
        elif way < 0.85:
            listed[place] = name, pick(random, listed)[1]
        else:
            other = pick(
                random, ("../../outside.npy", "/tmp/outside.npy", name.removesuffix(".npy"), "a" * 300, "meta.npy")
            )
            listed[place] = other, content
        if not listed:
            break
    return _archive(listed, pick(random, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def odd_npy(random: Random, data: bytes) -> bytes:
    """An array of another type, shape or content, a header that lies, or a pickle instead of numbers."""
    way = random.random()
    if way < 0.25:
        return damaged(random, data)
    if way < 0.5:
        order = pick(random, ("False", "False", "True", "3"))
        described = f"'descr': {pick(random, _DTYPES)}, 'fortran_order': {order}, 'shape': {pick(random, _SHAPES)}, "
        header = f"{{{described}}}"
        return _with_header(header, pick(random, (data[128:], data[128:], b"")), pick(random, (1, 1, 2, 3, 9)))
    if way < 0.55:
        out = io.BytesIO()
        np.save(out, np.array([Touch(), None], dtype=object), allow_pickle=True)
        return out.getvalue()
    return _saved(_odd_array(random, _array(data)))


def _odd_array(random: Random, array: np.ndarray) -> Any:
    array = np.array(array)
    way = random.random()
    if way < 0.35 and array.size and array.dtype.kind in "fiu":
        odd = pick(random, (np.nan, np.inf, -np.inf, 1e38, -1e38, -1.0, 0.0, 2.0**31, 255.0, 1e-40))
        array = array.astype(pick(random, (array.dtype, np.dtype(np.float64), np.dtype(np.int64))))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            where = pick(random, (slice(None), random.integers(0, array.size, 3)))
            array.reshape(-1)[where] = np.array(odd).astype(array.dtype)
        return array
    if way < 0.55:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kinds = (
                "f2",
                "f4",
                "f8",
                ">f4",
                "i1",
                "u1",
                "i8",
                ">i8",
                "u8",
                "?",
                "c8",
                "U4",
                "S4",
                "f16",
                "M8[s]",
                "m8[s]",
            )
            kind = np.dtype(pick(random, kinds))
            return array.astype(kind) if array.dtype.kind not in "USV" else np.zeros(array.shape, kind)
    if way < 0.75:
        return pick(
            random,
            (
                np.atleast_1d(array)[:0],
                array[..., None],
                array.reshape(-1),
                array[None],
                array[: max(len(array) - 1, 0)] if array.ndim else array,
                np.concatenate([array, array]) if array.ndim else array,
                array.T,
                np.zeros((0, 3)),
                np.zeros((3, 0, 2)),
            ),
        )
    return pick(
        random,
        (
            np.zeros(0),
            np.array(3.0),
            np.array("text"),
            np.arange(12).reshape(3, 4),
            np.zeros((2, 2), "i4,f4"),
            np.zeros((1, 478, 3)),
            np.full(array.shape, -1, np.int64),
            random.normal(size=array.shape).astype(np.float32) * 1e3,
        ),
    )


def bomb(name: bytes, data: bytes) -> bytes:
    """The archive whose member ``name`` unpacks to BOMB_BYTES of zeros as honest numbers."""
    squeezed, checksum, size = _squeezed()
    members = [(one, content) for one, content in _members(data).items() if one.encode() != name]
    out = io.BytesIO(_archive(members, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(out, "a") as archive:
        directory = archive.start_dir
    whole, count = out.getvalue(), len(members)
    old = whole[directory:-22]
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 33, checksum, len(squeezed), size, len(name), 0)
    entry = struct.pack(
        "<4sHHHHHHIIIHHHHHII",
        b"PK\x01\x02",
        20,
        20,
        0,
        8,
        0,
        33,
        checksum,
        len(squeezed),
        size,
        len(name),
        0,
        0,
        0,
        0,
        0,
        directory,
    )
    body = whole[:directory] + local + name + squeezed
    listing = old + entry + name
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count + 1, count + 1, len(listing), len(body), 0)
    return body + listing + end


@cache
def _squeezed() -> tuple[bytes, int, int]:
    """(deflated bytes, CRC, size) of an array of zeros."""
    header = _with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({BOMB_BYTES // 4},), }}", b"", 1)
    squeezer, zeros = zlib.compressobj(1, zlib.DEFLATED, -15), bytes(2**24)
    beginning = squeezer.compress(header) + squeezer.flush(zlib.Z_FULL_FLUSH)
    part, checksum = squeezer.compress(zeros) + squeezer.flush(zlib.Z_FULL_FLUSH), zlib.crc32(header)
    for _ in range(BOMB_BYTES // len(zeros)):  # each part can be unpacked by itself: one is squeezed, and repeated
        checksum = zlib.crc32(zeros, checksum)
    parts = part * (BOMB_BYTES // len(zeros))
    return beginning + parts + squeezer.flush(), checksum, len(header) + BOMB_BYTES


def _members(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, OSError, zlib.error):
        return {}


def _archive(members: list[tuple[str, bytes]], how: int) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", how, compresslevel=1) as archive:
        warnings.simplefilter("ignore")  # a name twice
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def _array(data: bytes) -> np.ndarray:
    try:
        return np.asarray(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False))
    except Exception:  # numpy raises whatever its readers raise
        return np.zeros(3)


def _saved(array: Any) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array), allow_pickle=True)
    return out.getvalue()


def _text_member(text: bytes) -> bytes:
    return _saved(np.frombuffer(text, np.uint8))


def _with_header(header: str, content: bytes, version: int) -> bytes:
    text = header.encode("utf-8")
    size = struct.pack("<H" if version == 1 else "<I", len(text) + 1)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + b"\n" + content
