# SPDX-License-Identifier: Apache-2.0
"""Mutators of pictures, films and meshes: chunks and boxes whose sizes lie, pictures of more pixels than memory."""

from __future__ import annotations

import json
import struct
import zlib

from .mutate import Random, damaged, odd_json, odd_table, pick

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def odd_png(random: Random, data: bytes) -> bytes:
    """A PNG whose chunks are others, with checksums that agree."""
    chunks = _chunks(data)
    if not chunks or random.random() < 0.3:
        return damaged(random, data)
    way = random.random()
    if way < 0.4:
        width, height, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
        sizes = (0, 1, 2, 15, 40, 10_000, 100_000, 2**31 - 1, 2**32 - 1)
        width, height = pick(random, (width, *sizes)), pick(random, (height, *sizes))
        rest = [pick(random, (value, value, int(random.integers(256)))) for value in rest]
        chunks[0] = b"IHDR", struct.pack(">IIBBBBB", width, height, *rest)
    elif way < 0.55:
        zeros = zlib.compress(bytes(2**22), 1) if random.random() < 0.7 else b""
        kind = pick(random, (b"zTXt", b"iTXt", b"iCCP", b"IDAT", b"eXIf", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"gAMA"))
        head = {b"zTXt": b"a\0\0", b"iCCP": b"a\0\0", b"iTXt": b"a\0\1\0\0\0"}.get(kind, b"")
        chunks.insert(int(random.integers(1, len(chunks) + 1)), (kind, head + (zeros or random.bytes(40))))
    elif way < 0.75:
        place = int(random.integers(len(chunks)))
        chunks[place] = chunks[place][0], damaged(random, chunks[place][1])
    else:
        place = int(random.integers(len(chunks)))
        chunks[place : place + 1] = pick(random, ([], [chunks[place]] * 2, [(b"abCd", chunks[place][1])]))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, place = [], 8
    while data.startswith(_SIGNATURE) and place + 12 <= len(data):
        size = struct.unpack(">I", data[place : place + 4])[0]
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 12 + size
    return chunks


_BOXES = (
    b"mvhd",
    b"tkhd",
    b"mdhd",
    b"stsd",
    b"stts",
    b"stss",
    b"stsz",
    b"stsc",
    b"stco",
    b"elst",
    b"avcC",
    b"ftyp",
    b"mdat",
    b"ctts",
    b"hdlr",
    b"moov",
    b"trak",
)
_NUMBERS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x00\x00\x00\x01",
    b"\x00\x10\x00\x00",
    b"\x3f\xff\x3f\xff",
)


def odd_boxes(random: Random, data: bytes) -> bytes:
    """An MP4 one of whose boxes has another size, name, place or number in it."""
    kinds = [kind for kind in _BOXES if kind in data]
    if not kinds or random.random() < 0.35:
        return damaged(random, data)
    place = data.index(pick(random, kinds)) - 4
    size = max(struct.unpack(">I", data[place : place + 4])[0], 8)
    out = bytearray(data)
    way = random.random()
    if way < 0.2:
        out[place : place + 4] = pick(random, _NUMBERS)
    elif way < 0.3:
        out[place + 4 : place + 8] = pick(random, (*_BOXES, b"free", b"uuid", random.bytes(4)))
    elif way < 0.4:
        box = bytes(out[place : place + size])
        out[place : place + size] = pick(random, (b"", box + box))
    else:
        for _ in range(int(random.integers(1, 4))):
            inside = place + 8 + 4 * int(random.integers(max((min(size, 160) - 8) // 4, 1)))
            out[inside : inside + 4] = pick(random, (*_NUMBERS, random.bytes(4)))
    return bytes(out)


def odd_glb(random: Random, data: bytes) -> bytes:
    """A GLB with another description, or lengths that lie."""
    if random.random() < 0.25 or data[:4] != b"glTF":
        return damaged(random, data)
    size = struct.unpack("<I", data[12:16])[0]
    text, rest = data[20 : 20 + size], data[20 + size :]
    text = odd_json(random, text) if random.random() < 0.8 else _counted(random, text)
    text += b" " * (-len(text) % 4)
    told = pick(random, (len(text),) * 8 + (2**31, 0))
    whole = pick(random, (20 + len(text) + len(rest),) * 8 + (0, 2**32 - 1))
    return b"glTF" + struct.pack("<III", 2, whole, told) + b"JSON" + text + rest


def _counted(random: Random, text: bytes) -> bytes:
    """glTF whose accessors and views count otherwise."""
    tree = json.loads(text)
    entry = pick(random, [*tree.get("accessors", []), *tree.get("bufferViews", []), *tree.get("buffers", [])])
    key = pick(random, sorted(entry))
    if isinstance(entry[key], int):
        entry[key] = pick(random, (0, 1, -1, 2**31, 10**12, entry[key] + 1, entry[key] * 2))
    return json.dumps(tree).encode()


def odd_ply(random: Random, data: bytes) -> bytes:
    """A PLY whose header counts or names otherwise."""
    header, end, body = data.partition(b"end_header\n")
    if random.random() < 0.3 or not end:
        return damaged(random, data)
    return odd_table(random, header) + b"\n" + end + body
