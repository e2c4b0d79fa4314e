# SPDX-License-Identifier: Apache-2.0
"""What may have happened to a file: bytes and text that were damaged, cut, doubled, or written by somebody with a plan.

A mutator takes a generator and the file's bytes and gives other bytes. Those that know a format lie beside this file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Random = np.random.Generator
Mutator = Callable[[Random, bytes], bytes]

_WORDS = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff" * 8, b"\xff" * 7 + b"\x7f", bytes(8))


def pick(random: Random, choices: Sequence[Any]) -> Any:
    """One of ``choices``, whatever they are."""
    return choices[int(random.integers(len(choices)))]


def any_of(*mutators: Mutator) -> Mutator:
    """One of them, each as often as the others."""
    return lambda random, data: pick(random, mutators)(random, data)


def flipped(random: Random, data: bytes) -> bytes:
    """One to sixteen bits are others, half of the time near the beginning, where headers lie."""
    out = bytearray(data)
    if out:
        reach = min(len(out), 256) if random.random() < 0.5 else len(out)
        for place in random.integers(0, reach, int(random.integers(1, 17))):
            out[place] ^= 1 << int(random.integers(8))
    return bytes(out)


def cut(random: Random, data: bytes) -> bytes:
    return data[: int(random.integers(len(data) + 1))]


def replaced(random: Random, data: bytes) -> bytes:
    """A stretch of it is noise, zeros or ones."""
    out = bytearray(data)
    start = int(random.integers(len(out) + 1))
    size = int(random.integers(1, 65))
    filling = pick(random, (random.bytes(size), bytes(size), b"\xff" * size))
    out[start : start + size] = filling
    return bytes(out)


def numbers(random: Random, data: bytes) -> bytes:
    """A number in it is the largest, the smallest or none, wherever it may lie."""
    out, word = bytearray(data), pick(random, _WORDS)
    if len(out) >= len(word):
        reach = min(len(out), 512) if random.random() < 0.7 else len(out)
        start = int(random.integers(max(reach - len(word), 0) + 1))
        out[start : start + len(word)] = word
    return bytes(out)


def moved(random: Random, data: bytes) -> bytes:
    """A stretch is left out, doubled, or put elsewhere."""
    start, end = sorted(int(place) for place in random.integers(0, len(data) + 1, 2))
    end = min(end, start + 4096)
    part, to = data[start:end], int(random.integers(len(data) + 1))
    return pick(random, (data[:start] + data[end:], data[:end] + part + data[end:], data[:to] + part + data[to:]))


def other(random: Random, data: bytes) -> bytes:
    """It is another file altogether, or none."""
    del data
    beginning = pick(random, (b"", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x80\x02", b"{", b"[", b"glTF", b"\xff\xfe"))
    return beginning + random.bytes(pick(random, (0, 0, 1, 40, 4000)))


damaged = any_of(flipped, flipped, cut, replaced, numbers, moved, other)
DEEP = 100_000  # levels: more than any reader that calls itself can follow


def odd_value(random: Random) -> Any:
    """What JSON can say where something else is expected."""
    return pick(
        random,
        (
            None,
            True,
            False,
            0,
            1,
            -1,
            2**31,
            -(2**63),
            10**30,
            10**400,
            0.5,
            -0.5,
            1e-320,
            1e308,
            -1e308,
            float("nan"),
            float("inf"),
            float("-inf"),
            "",
            "x",
            "0",
            "-1",
            "nan",
            "\0",
            "\udcff",
            "../" * 40 + "etc/passwd",
            "/dev/zero",
            "日本 ü \u202e",
            "x" * 100_000,
            [],
            [[]],
            [None],
            [1, "a", None],
            {},
            {"": {}},
            {"x": [1]},
            [0] * 10_000,
        ),
    )


def odd_json(random: Random, data: bytes) -> bytes:
    """JSON some values of which are of other kinds, missing, doubled, or nested beyond all measure."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return damaged(random, data)
    way = random.random()
    if way < 0.06:
        opening, closing = pick(random, (("[", "]"), ('{"a":', "}")))
        depth = pick(random, (200, 2000, DEEP))
        inner = json.dumps(value) if random.random() < 0.5 else "0"
        return (opening * depth + inner + closing * depth).encode()
    if way < 0.1:  # the same deep within, where a reader already trusts the file
        text = json.dumps(_changed(random, value, "@deep@"))
        return text.replace('"@deep@"', "[" * DEEP + "]" * DEEP, 1).encode()
    for _ in range(int(random.integers(1, 3))):
        value = _changed(random, value, odd_value(random))
    text = json.dumps(value)
    if way < 0.15:
        text = text.replace('":', '":  \n', 3)[:-1] + ', "frames": 3' + text[-1:]
    return text.encode(pick(random, ("utf-8",) * 8 + ("utf-16", "utf-8-sig")), "replace")


def _changed(random: Random, value: Any, new: Any) -> Any:
    """``value`` in which one place, anywhere, holds ``new``, is missing, or is there twice."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = pick(random, sorted(value))
        if random.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: _changed(random, value[key], new)}
    if isinstance(value, list) and value and random.random() < 0.7:
        place = int(random.integers(min(len(value), 64)))
        way = random.random()
        if way < 0.1:
            return value[:place] + value[place + 1 :]
        if way < 0.2:
            return value[:place] + [value[place]] + value[place:]
        return [*value[:place], _changed(random, value[place], new), *value[place + 1 :]]
    return new


_TOML_VALUES = (
    "true",
    "-1",
    "0",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "99999999999999999999",
    '""',
    '"x"',
    "[]",
    "[[]]",
    "{}",
    "{a=1}",
    "1979-05-27",
    "[" * 3000 + "]" * 3000,
    '"\\u0000"',
    "'''\n\n'''",
    "0x7fffffffffffffff",
    "1_000_000_000",
    "0.0000001",
)


def odd_toml(random: Random, data: bytes) -> bytes:
    """TOML with a value of another kind, a doubled or unknown key, a table twice."""
    lines = data.decode("utf-8", "replace").splitlines()
    keyed = [place for place, line in enumerate(lines) if "=" in line and not line.lstrip().startswith("#")]
    for _ in range(int(random.integers(1, 3))):
        place = pick(random, keyed)
        key = lines[place].partition("=")[0].rstrip()
        lines[place] = pick(
            random,
            (
                f"{key} = {pick(random, _TOML_VALUES)}",
                f"{key} = {pick(random, _TOML_VALUES)}",
                f"{lines[place]}\n{lines[place]}",
                f"{key}x = 1",
                f"[{key}]",
                f"[{key}]\na = 1",
                "",
                f"{key} =",
                f"{key}.{key} = 1",
            ),
        )
    return "\n".join(lines).encode()


_CELLS = (
    "",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-1",
    "99999999999999999999999",
    "0,5",
    "x",
    '"',
    '"a\nb"',
    "\0",
    "١",
    "ü",
    " ",
    "x" * 5000,
    "00:00:00:00",
    "25:61:61:99.999",
    "-1:0:0:0",
    "1e300:1e300:1:1",
    "00;00",
    "=1+1",
)


def odd_table(random: Random, data: bytes) -> bytes:
    """Text in lines and columns, with cells, lines and columns that are others, missing or doubled."""
    lines = data.decode("utf-8", "replace").splitlines()
    for _ in range(int(random.integers(1, 4))):
        if not lines:
            break
        place = 0 if random.random() < 0.3 else int(random.integers(len(lines)))
        separator = next((one for one in ",;\t |" if one in lines[place]), ",")
        cells = lines[place].split(separator)
        column = int(random.integers(len(cells)))
        cells[column : column + 1] = pick(
            random,
            (
                [pick(random, _CELLS)],
                [pick(random, _CELLS)],
                [pick(random, _CELLS)],
                [],
                [cells[column]] * 2,
                [cells[column]] * 3000,
            ),
        )
        lines[place : place + 1] = pick(random, ([separator.join(cells)],) * 6 + ([], [lines[place]] * 2))
    text = pick(random, ("\n", "\n", "\r\n", "\r")).join(lines)
    return text.encode(pick(random, ("utf-8",) * 6 + ("utf-8-sig", "utf-16", "latin-1")), "replace")


def length_prefixed_json(random: Random, data: bytes) -> bytes:
    """A safetensors file: its JSON header is another, or of another length than it says."""
    size = struct.unpack("<Q", data[:8])[0]
    header = odd_json(random, data[8 : 8 + size])
    told = pick(random, (len(header),) * 6 + (len(header) + 1, 0, 2**40, 2**64 - 1))
    return struct.pack("<Q", told) + header + data[8 + size :]
