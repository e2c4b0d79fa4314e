# SPDX-License-Identifier: Apache-2.0
"""Pickled objects that heads come in (.pkl, .npy), read by unpicklers that know arrays and nothing that runs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.errors import InputError
from blendsplat.files import check_file
from blendsplat.heads.pickles import SafeUnpickler, guarded, resolve
from blendsplat.heads.torch_files import TORCH_NAMES


def _open(path: Path | str) -> bytes:
    check_file(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check the path.") from error


def load_pickle(path: Path | str) -> Any:
    """A pickle of dictionaries, lists, numbers, texts, numpy arrays, scipy matrices, chumpy objects and torch tensors
    (which come as arrays), any protocol, Python 2's included. Sets come as lists.

    Raises UnsafeFileError naming the first foreign thing it asks for, FormatError when damaged, InputError when absent.
    """
    data = _open(path)
    return guarded(str(path), lambda: resolve(SafeUnpickler(io.BytesIO(data), str(path), TORCH_NAMES).load()))


def load_npy(path: Path | str) -> Any:
    """A .npy file, pickled objects included: those are read as by load_pickle. An array of one object comes as it."""
    stream = io.BytesIO(_open(path))

    def read() -> Any:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = header(stream)
        if not dtype.hasobject:
            stream.seek(0)
            return np.lib.format.read_array(stream, allow_pickle=False)
        value = resolve(SafeUnpickler(stream, str(path), TORCH_NAMES).load())
        return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value

    return guarded(str(path), read)
