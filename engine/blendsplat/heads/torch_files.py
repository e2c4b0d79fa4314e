# SPDX-License-Identifier: Apache-2.0
"""Tensors in other people's files, as numpy arrays: torch's zip archives and older streams (metrical-tracker's .frame),
and tensors inside ordinary pickles. Built on heads.pickles, so nothing of a file is ever run, and torch is not asked.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from blendsplat.errors import InputError
from blendsplat.files import check_unpacked
from blendsplat.heads.pickles import NAMES, Call, Name, NotPlainError, SafeUnpickler, Stub, as_bytes, guarded, resolve

_STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1",
    "BoolStorage": "?",
}  # fmt: skip
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LARGEST = 1 << 31  # bytes of one storage


class _Storage:
    """Numbers of one type, filled in when the file brings them."""

    __slots__ = ("data", "dtype")

    def __init__(self, dtype: str, data: bytes | None = None) -> None:
        self.dtype, self.data = dtype, data

    def array(self) -> np.ndarray:
        if self.data is None:
            raise NotPlainError("a tensor without numbers")
        if self.dtype == "bfloat16":
            return (np.frombuffer(self.data, "<u2").astype(np.uint32) << 16).view(np.float32)
        return np.frombuffer(self.data, self.dtype)


class _Tensor(Stub):
    """A strided view of a storage."""

    __slots__ = ()

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> None:
        self.state = (storage, offset, size, stride)

    def __setstate__(self, state: Any) -> None:
        raise NotPlainError("state for a tensor")

    def value(self, resolve: Callable[[Any], Any]) -> np.ndarray:
        storage, offset, size, stride = self.state
        if not isinstance(storage, _Storage) or len(size) != len(stride) or len(size) > 16:
            raise NotPlainError("a tensor without numbers")
        flat = storage.array()
        if any(not isinstance(number, int) or number < 0 for number in (offset, *size, *stride)):
            raise NotPlainError("a tensor with an odd layout")
        if 0 in size:
            return np.zeros(size, flat.dtype)
        last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
        if last >= len(flat) or int(np.prod(size, dtype=object)) > len(flat):
            raise NotPlainError("a tensor that reaches beyond its numbers")
        steps = [step * flat.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(flat[offset:], tuple(size), steps).copy()


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(size), tuple(stride), *rest)


def _load_from_bytes(data: Any) -> Any:
    return _read_stream(io.BytesIO(as_bytes(data)), "The tensor inside")


def _torch_names() -> dict[tuple[str, str], Any]:
    table = dict(NAMES)
    for name, dtype in _STORAGES.items():
        table["torch", name] = table["torch.storage", name] = Name(f"torch.{name}", dtype)
    table["torch._utils", "_rebuild_tensor"] = table["torch._utils", "_rebuild_tensor_v2"] = Call(_rebuild_tensor)
    table["torch._utils", "_rebuild_parameter"] = Call(lambda tensor, *_: tensor)
    table["torch.storage", "_load_from_bytes"] = Call(_load_from_bytes)
    return table


TORCH_NAMES = _torch_names()


class _TorchUnpickler(SafeUnpickler):
    """Knows torch's persistent ids ("storage", type, key, device, count[, view])."""

    def __init__(self, file: BinaryIO, source: str, find: Callable[[str, str, int], _Storage]) -> None:
        super().__init__(file, source, TORCH_NAMES)
        self._find = find

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], Name):
            raise NotPlainError("a reference to outside the file")
        count = pid[4]
        if not pid[1].dtype or not isinstance(count, int) or not 0 <= count < _LARGEST:
            raise NotPlainError("a storage of a foreign type")
        return self._find(pid[1].dtype, str(pid[2]), count)


def load_torch(path: Path | str) -> Any:
    """What torch.save wrote (dictionaries, lists, numbers, arrays, tensors): tensors come as numpy arrays.

    Raises UnsafeFileError naming the first foreign thing the file asks for, FormatError when it is damaged, InputError
    when it is absent.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file. Check the path.")
    if _is_zip(path):
        return guarded(str(path), lambda: _read_zip(path))
    return guarded(str(path), lambda: resolve(_read_stream(io.BytesIO(path.read_bytes()), str(path))))


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # an end of a zip, and nothing sound before it
        return True


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        check_unpacked(archive, path.stat().st_size)
        members = {PurePosixPath(name): name for name in archive.namelist()}
        program = next((member for member in members if member.name == "data.pkl" and len(member.parts) == 2), None)
        if program is None:
            raise NotPlainError("a zip without data.pkl")
        order = members.get(program.parent / "byteorder")
        if order is not None and archive.read(order).strip() != b"little":
            raise NotPlainError("a file from a big-endian machine")
        kept: dict[str, _Storage] = {}

        def find(dtype: str, key: str, count: int) -> _Storage:
            if key not in kept:
                member = members[program.parent / "data" / key]
                if archive.getinfo(member).file_size > _LARGEST:
                    raise NotPlainError("a storage too large to be a head's")
                kept[key] = _Storage(dtype, archive.read(member))
            return kept[key]

        return resolve(_TorchUnpickler(io.BytesIO(archive.read(members[program])), str(path), find).load())


def _read_stream(stream: BinaryIO, source: str) -> Any:
    """torch's older layout: magic, protocol, machine, program, list of keys, then count and numbers of each storage."""
    storages: dict[str, tuple[_Storage, int]] = {}

    def find(dtype: str, key: str, count: int) -> _Storage:
        return storages.setdefault(key, (_Storage(dtype), count))[0]

    def part() -> Any:
        return _TorchUnpickler(stream, source, find).load()

    if part() != _MAGIC or part() != _PROTOCOL:
        raise NotPlainError("no torch file")
    part()  # the machine that wrote it
    value = part()
    for key in part():
        storage, count = storages[str(key)]
        stored = int.from_bytes(stream.read(8), "little", signed=True)
        size = 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize
        if not 0 <= stored <= count:
            raise NotPlainError("a storage whose size is not what was announced")
        storage.data = stream.read(stored * size)
        if len(storage.data) != stored * size:
            raise NotPlainError("a file that ends too early")
    return value
