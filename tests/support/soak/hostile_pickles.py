# SPDX-License-Identifier: Apache-2.0
"""Mutators of pickles: programs that would run something if anybody let them, and that ask for all memory there is."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from typing import Any

from .mutate import Random, damaged, pick

MARKER = "BLENDSPLAT_SOAK_MARKER"  # the environment names the file that a pickle which runs would touch


class Touch:
    """Pickled, it asks whoever reads it to make the marker's file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ.get(MARKER, "soak-marker"),)


def odd_pickle(random: Random, data: bytes) -> bytes:
    """A pickle that runs something at its beginning, end or within, or announces sizes that no file has."""
    way = random.random()
    if way < 0.45:
        return damaged(random, data)
    protocol = int(random.integers(0, 6))
    if way < 0.55:
        return pickle.dumps(pick(random, (Touch(), {"f": Touch()}, [Touch()], (1, {"x": [Touch()]}))), protocol)
    if way < 0.75:
        return _spliced(random, data)
    if way < 0.9:
        return pick(random, (_huge(random), _deep(random), _doubling(), _names(random)))
    return pickle.dumps(
        pick(random, (None, 3, "x", [], {}, {"f": 3}, {"f": [[1]], "v_template": None}, b"x" * 9)), protocol
    )


def _spliced(random: Random, data: bytes) -> bytes:
    """A call inside of the real file's program."""
    command = os.environ.get(MARKER, "soak-marker").encode()
    module, name = pick(
        random,
        (
            (b"os", b"mkdir"),
            (b"posix", b"mkdir"),
            (b"builtins", b"exec"),
            (b"os", b"system"),
            (b"subprocess", b"call"),
            (b"builtins", b"getattr"),
            (b"numpy", b"load"),
        ),
    )
    call = b"c" + module + b"\n" + name + b"\n(V" + command + b"\ntR0"
    place = pick(random, (2, len(data) - 1, int(random.integers(2, max(len(data), 3)))))
    return data[:place] + call + data[place:]


def _huge(random: Random) -> bytes:
    """Announces gigabytes."""
    return (
        b"\x80\x04"
        + pick(
            random,
            (
                b"\x8e" + struct.pack("<Q", 2**40),
                b"\x8d" + struct.pack("<Q", 2**62),
                b"\x95" + struct.pack("<Q", 2**50),
                b"B" + struct.pack("<I", 2**31),
                b"\x8b" + struct.pack("<i", 2**31 - 1),
                b"\x96" + struct.pack("<Q", 2**41),
                b"I" + b"9" * 20_000 + b"\n",
                b"r" + struct.pack("<I", 2**31 - 1),
                # bytes(2**34), bytearray(2**34): as much as a number asks for
                b"cbuiltins\nbytes\n\x8a\x05\x00\x00\x00\x00\x04\x85R",
                b"cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x04\x85R",
            ),
        )
        + b"."
    )


def _deep(random: Random) -> bytes:
    depth = pick(random, (100, 5000, 200_000))
    return b"\x80\x04" + pick(random, ((b"]" * depth + b"a" * (depth - 1)), (b"N" + b"\x85" * depth))) + b"."


def _doubling() -> bytes:
    """A list of two of the same list, forty levels deep: a terabyte, if somebody copies what is shared."""
    return b"\x80\x04]\x94" + b"".join(b"](h" + bytes([n]) + b"h" + bytes([n]) + b"e\x94" for n in range(40)) + b"."


def _names(random: Random) -> bytes:
    """Names that a reader knows, used for what they are not for."""
    module, name = pick(
        random,
        (
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("copyreg", "_reconstructor"),
            ("numpy.core.multiarray", "scalar"),
            ("scipy.sparse.csc", "csc_matrix"),
            ("chumpy.ch", "Ch"),
            ("_codecs", "encode"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("collections", "OrderedDict"),
            ("builtins", "set"),
            ("builtins", "object"),
            ("numpy.core.numeric", "_frombuffer"),
            ("torch.storage", "_load_from_bytes"),
            ("torch", "FloatStorage"),
        ),
    )
    arguments = pick(
        random,
        (b")", b"N\x85", b"(I-1\nI4000000000\nt", b"(Vx\nVlatin1\nt", b"(]]]t", b"(}}I1\nt", b"(Vf4\nK\x00K\x01t"),
    )
    state = pick(random, (b"", b"}b", b"Nb", b"(K\x01(J\xff\xff\xff\x7ft]N]tb"))
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + arguments + b"R" + state + b"."


def odd_torch(random: Random, data: bytes) -> bytes:
    """torch's archive with another program, or with numbers that are missing or too few."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError):
        return odd_pickle(random, data)
    way = random.random()
    if way < 0.3:
        return damaged(random, data)
    program = next(name for name in members if name.endswith("data.pkl"))
    if way < 0.7:
        members[program] = odd_pickle(random, members[program])
    elif way < 0.75:
        return odd_pickle(random, members[program])
    else:
        name = pick(random, sorted(members))
        members[name] = damaged(random, members[name])
        if random.random() < 0.4:
            del members[name]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()
