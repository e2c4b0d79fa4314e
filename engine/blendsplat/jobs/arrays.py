# SPDX-License-Identifier: Apache-2.0
"""The arrays that come with a request or with a frame of a job, checked before a kernel sees an address."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from blendsplat.errors import InputError

Arrays = dict[str, np.ndarray]
Shape = tuple[str | int, ...]  # a letter is a size that must be the same wherever it stands


def checked_floats(method: str, arrays: Arrays, shapes: Mapping[str, Shape]) -> Arrays:
    """The arrays named in ``shapes``, in that order, as float32 in C-order. Raises InputError that names the array at
    fault: missing, unknown, of another shape or type, not finite."""
    missing = [name for name in shapes if name not in arrays]
    if missing:
        raise InputError(f"{method} needs the attachments {', '.join(missing)}.")
    unknown = [name for name in arrays if name not in shapes]
    if unknown:
        raise InputError(f"{method} knows no attachment {unknown[0]!r}; known are {', '.join(shapes)}.")
    sizes: dict[str, int] = {}
    return {name: _checked(name, arrays[name], shape, sizes) for name, shape in shapes.items()}


def _checked(name: str, array: np.ndarray, shape: Shape, sizes: dict[str, int]) -> np.ndarray:
    """``sizes`` remembers what the letters of earlier arrays were."""
    if array.ndim == len(shape):
        for size, wanted in zip(array.shape, shape, strict=True):
            if isinstance(wanted, str):
                sizes.setdefault(wanted, size)
    want = [sizes.get(size, size) if isinstance(size, str) else size for size in shape]
    if list(array.shape) != want:
        wanted = ", ".join(map(str, want))
        raise InputError(f"The attachment {name!r} has shape {list(array.shape)} instead of [{wanted}].")
    if array.dtype.kind != "f":
        raise InputError(f"The attachment {name!r} has dtype {array.dtype} instead of float32.")
    with np.errstate(over="ignore"):
        checked = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(checked).all():
        raise InputError(f"The attachment {name!r} holds values that are not finite.")
    return checked
