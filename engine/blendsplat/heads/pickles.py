# SPDX-License-Identifier: Apache-2.0
"""Reads other people's pickles (FLAME, landmark embeddings, metrical-tracker's .frame) without ever running their code.

A pickle is a program that may call anything importable. Here every name it asks for is looked up in a fixed list of
stand-ins of our own, which only collect plain data; numpy arrays, scipy matrices, chumpy objects and torch tensors are
built from what was collected after the program has ended. Any other name ends the reading, and nothing was imported.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse as sp

from blendsplat.errors import FormatError, InputError, UnsafeFileError

_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_DEEPEST = 64  # levels of nesting; the files that are meant have four
_MOST = 5_000_000  # numbers in lists, what is shared counted as often as it is there: a walk over them must end


class NotPlainError(ValueError):
    """What a stand-in was given is no plain data; becomes a FormatError with the file's name."""


class Name:
    """Something a pickle may pass on but not call: numpy.ndarray, object, torch's storage types."""

    __slots__ = ("dtype", "name")

    def __init__(self, name: str, dtype: str = "") -> None:
        self.name, self.dtype = name, dtype

    def __setstate__(self, state: Any) -> None:
        raise NotPlainError(f"state for {self.name}")


class Call:
    """Something a pickle may call. An object, not a function: its attributes are out of a pickle's reach."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise NotPlainError("state for a function")


class Stub:
    """An object to be: __setstate__ collects, ``value`` builds."""

    __slots__ = ("state",)
    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self, resolve: Callable[[Any], Any]) -> Any:
        raise NotImplementedError

    def collected(self) -> Any:
        if not hasattr(self, "state"):
            raise NotPlainError(f"a {type(self).__name__} without content")
        return self.state


class _DType(Stub):
    """numpy.dtype: a plain number, a fixed string, or "object". Never structured."""

    __slots__ = ("spec",)

    def __init__(self, spec: str) -> None:
        self.spec = spec

    def value(self, resolve: Callable[[Any], Any]) -> np.dtype[Any]:
        order, size = "=", None
        if hasattr(self, "state"):
            state = tuple(self.state)
            if any(part is not None for part in state[2:5]):
                raise NotPlainError("a structured numpy type")
            order = state[1]
            size = state[5] if self.spec[0] in "SU" else None
        if order not in ("<", ">", "|", "="):
            raise NotPlainError(f"byte order {order!r}")
        if size is not None:
            if not isinstance(size, int) or not 0 <= size < 1 << 16:
                raise NotPlainError("the size of a numpy string")
            return np.dtype(f"{order}{self.spec[0]}{size // (4 if self.spec[0] == 'U' else 1)}")
        return np.dtype(self.spec).newbyteorder(order)  # type: ignore[arg-type]


def _dtype(spec: Any, *_: Any) -> _DType:
    if not isinstance(spec, str) or not re.fullmatch(r"[<>|=]?(\?|b1|[iu][1248]|f[248]|c8|c16|O8?|[SU]\d{0,5})", spec):
        raise NotPlainError(f"the numpy type {str(spec)[:40]!r}")
    return _DType(spec)


class _Array(Stub):
    """numpy.ndarray, from the state (version, shape, dtype, Fortran order, bytes or list of objects)."""

    __slots__ = ()

    def value(self, resolve: Callable[[Any], Any]) -> np.ndarray:
        _, shape, dtype, fortran, raw = self.collected()
        return _array(shape, resolve(dtype), "F" if fortran else "C", raw, resolve)


class _Buffer(Stub):
    """numpy.ndarray as protocol 5 writes it: (bytes, dtype, shape, order)."""

    __slots__ = ()

    def __init__(self, raw: Any, dtype: Any, shape: Any, order: Any) -> None:
        self.state = (raw, dtype, shape, order)

    def value(self, resolve: Callable[[Any], Any]) -> np.ndarray:
        raw, dtype, shape, order = self.state
        return _array(shape, resolve(dtype), order, raw, resolve)


class _Scalar(Stub):
    """A numpy scalar: (dtype, bytes)."""

    __slots__ = ()

    def __init__(self, dtype: Any, raw: Any = b"") -> None:
        self.state = (dtype, raw)

    def value(self, resolve: Callable[[Any], Any]) -> Any:
        dtype, raw = self.state
        return _array((), resolve(dtype), "C", raw, resolve)[()]


def _array(shape: Any, dtype: Any, order: Any, raw: Any, resolve: Callable[[Any], Any]) -> np.ndarray:
    """A new array. Sizes must agree, so that a short file cannot ask for a large one."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if not isinstance(dtype, np.dtype) or order not in ("C", "F") or len(shape) > 32:
        raise NotPlainError("an array without a type")
    if any(not isinstance(size, int) or size < 0 for size in shape):
        raise NotPlainError("an array with an odd shape")
    if dtype.hasobject:
        if not isinstance(raw, list):
            raise NotPlainError("an array of objects without objects")
        flat: np.ndarray = np.empty(len(raw), dtype=object)
        for index, item in enumerate(raw):
            flat[index] = resolve(item)
        return flat.reshape(shape, order=order)
    data = as_bytes(raw)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if len(data) != count * dtype.itemsize:
        raise NotPlainError("an array whose size and content disagree")
    return np.frombuffer(data, dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="), order="K", copy=True)


def as_bytes(raw: Any) -> bytes:
    """Bytes, which Python 2's pickles hold as text."""
    if isinstance(raw, str):
        return raw.encode("latin1")
    if not isinstance(raw, (bytes, bytearray)):  # a number would ask bytes() for that many zeros
        raise NotPlainError("something where bytes should be")
    return bytes(raw)


def _reconstruct(subtype: Any, shape: Any, typecode: Any) -> _Array:
    del shape, typecode  # always those of an empty array: the state brings the real ones
    if not (isinstance(subtype, Name) and subtype.name == "numpy.ndarray"):
        raise NotPlainError("an array of a foreign class")
    return _Array()


class _Sparse(Stub):
    """scipy.sparse csc and csr, matrix or array: always built as a matrix of the same kind."""

    __slots__ = ()
    build: Callable[..., Any]

    def value(self, resolve: Callable[[Any], Any]) -> Any:
        state = _mapping(resolve(self.collected()))
        shape = tuple(int(size) for size in state.get("_shape", state.get("shape", ())))
        matrix = type(self).build((state["data"], state["indices"], state["indptr"]), shape=shape)
        matrix.check_format(full_check=True)
        return matrix


class _Csc(_Sparse):
    __slots__ = ()
    build = sp.csc_matrix


class _Csr(_Sparse):
    __slots__ = ()
    build = sp.csr_matrix


class _Chumpy(Stub):
    """chumpy.ch.Ch: a wrapped array, the state's ``x``. Its other entries (caches, parents) are not looked at."""

    __slots__ = ()

    def value(self, resolve: Callable[[Any], Any]) -> np.ndarray:
        return np.asarray(resolve(_mapping(self.collected())["x"]))


class _ChumpySelect(Stub):
    """chumpy.reordering.Select: elements ``idxs`` of the wrapped array ``a``, in a preferred shape."""

    __slots__ = ()

    def value(self, resolve: Callable[[Any], Any]) -> np.ndarray:
        state = _mapping(self.collected())
        if "x" in state:
            return np.asarray(resolve(state["x"]))
        chosen = np.asarray(resolve(state["a"])).ravel()[np.asarray(resolve(state["idxs"]))]
        shape = resolve(state.get("preferred_shape"))
        return chosen if shape is None else chosen.reshape(tuple(int(size) for size in shape))


def _mapping(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise NotPlainError("the state of an object is not a dictionary")
    return value


def _reconstructor(kind: Any, base: Any, state: Any) -> Stub:
    """copyreg's way of making an object of protocol 0 and 1."""
    del base, state
    if not (isinstance(kind, type) and issubclass(kind, Stub)):
        raise NotPlainError("an object of a foreign class")
    return kind.__new__(kind)


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """_codecs.encode: how protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise NotPlainError("text in a foreign encoding")
    return text.encode("latin1")


def _bytes(data: Any = b"", *encoding: Any) -> bytes:
    return _encode(data, *encoding) if encoding else as_bytes(data)


def _pairs(items: Any = ()) -> dict[Any, Any]:
    return dict(items)


def _names() -> dict[tuple[str, str], Any]:
    """Every name that a pickle may ask for."""
    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): Call(_pairs),
        ("_codecs", "encode"): Call(_encode),
    }
    for module in ("builtins", "__builtin__"):
        table |= {(module, "object"): Name("object"), (module, "set"): Call(list), (module, "frozenset"): Call(list)}
        table[module, "bytes"] = table[module, "bytearray"] = Call(_bytes)
    for module in ("copyreg", "copy_reg"):
        table[module, "_reconstructor"] = Call(_reconstructor)
    table |= {("numpy", "ndarray"): Name("numpy.ndarray"), ("numpy", "dtype"): Call(_dtype)}
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = Call(_reconstruct)
        table[f"{core}.multiarray", "scalar"] = Call(_Scalar)
        table[f"{core}.numeric", "_frombuffer"] = Call(_Buffer)
    for kind, stub in (("csc", _Csc), ("csr", _Csr)):
        for module in (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}"):
            table |= {(module, f"{kind}_matrix"): stub, (module, f"{kind}_array"): stub}
    table |= {("chumpy.ch", "Ch"): _Chumpy, ("chumpy", "Ch"): _Chumpy, ("chumpy.reordering", "Select"): _ChumpySelect}
    return table


NAMES = _names()


def _check_memo(file: BinaryIO) -> None:
    """Raise NotPlainError where the pickle that begins here remembers something under a number larger than itself, for
    which Python's unpickler makes room at once; ValueError where it ends too early."""
    start = file.tell()
    highest = max((int(arg or 0) for code, arg, _ in pickletools.genops(file) if code.name in _PUTS), default=0)
    size = file.tell() - start
    file.seek(start)
    if highest > size:
        raise NotPlainError("a memory larger than the file")


class SafeUnpickler(pickle.Unpickler):
    """Unpickler whose world is a table of names; persistent ids are refused unless a subclass knows them."""

    def __init__(self, file: BinaryIO, source: str, names: dict[tuple[str, str], Any] = NAMES) -> None:
        super().__init__(file, encoding="latin1")
        self._file, self._source, self._names = file, source, names

    def load(self) -> Any:
        """The next pickle of the file. Raises NotPlainError, UnsafeFileError and what pickle raises."""
        _check_memo(self._file)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._names[module, name]
        except KeyError:
            raise UnsafeFileError(
                f"{self._source} asks for {module}.{name}, which is not plain data; it was not run. Fetch the file "
                "again from where it is published, and do not open it in other programs."
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise NotPlainError("a reference to outside the file")


def resolve(value: Any) -> Any:
    """Plain data from what a SafeUnpickler collected: stand-ins become arrays and matrices."""
    done: dict[int, Any] = {}
    sizes: dict[int, int] = {}

    def visit(item: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise NotPlainError("data nested too deeply, or within itself")
        if isinstance(item, (Name, Call, type)):
            raise NotPlainError("a class where data should be")
        if not isinstance(item, (Stub, dict, list, tuple, set, frozenset)):
            return item
        if id(item) not in done:
            if isinstance(item, Stub):
                done[id(item)] = item.value(lambda part: visit(part, depth + 1))
            elif isinstance(item, dict):
                done[id(item)] = {visit(key, depth + 1): visit(part, depth + 1) for key, part in item.items()}
            else:
                parts = [visit(part, depth + 1) for part in item]
                done[id(item)] = tuple(parts) if isinstance(item, tuple) else parts
            inside = (
                (*item.keys(), *item.values()) if isinstance(item, dict) else () if isinstance(item, Stub) else item
            )
            sizes[id(item)] = 1 + sum(sizes.get(id(part), 1) for part in inside)
            if sizes[id(item)] > _MOST:
                raise NotPlainError("lists that hold each other over and over")
        return done[id(item)]

    return visit(value, 0)


def guarded(source: str, read: Callable[[], Any]) -> Any:
    """read(), with everything that a damaged or hostile file can cause turned into an error that names the file."""
    try:
        return read()
    except (UnsafeFileError, InputError):
        raise
    except (MemoryError, RecursionError, OSError, Exception) as error:  # pickle, zip and numpy each raise their own
        raise FormatError(
            f"{source} is damaged or not the kind of file it should be; fetch it again.", repr(error)
        ) from error
