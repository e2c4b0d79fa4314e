# SPDX-License-Identifier: Apache-2.0
"""Writing files so that nothing is ever half-written: a temporary name beside the target, flushed, then renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.errors import FormatError, StorageError

_masking = threading.Lock()


@contextlib.contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the target's folder (same suffix); rename it onto ``target`` if the block succeeds.

    Raises StorageError, with the target untouched and the temporary file removed, when the disk refuses.
    """
    target = Path(target)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}.", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        raise StorageError(
            f"Could not write {target}: {error.strerror or error}. {way_out(error)}", detail=repr(error)
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def way_out(error: OSError) -> str:
    """What to do when the disk refuses, by its reason."""
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "Choose a folder that you may write to."
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return "Free some space or choose another folder."
    return "Choose another folder, or look whether the disk is still there."


def check_writable(target: Path | str) -> None:
    """Raise StorageError, before hours of work, where ``target`` could not be written."""
    target = Path(target)
    if target.is_dir():
        raise StorageError(f"Could not write {target}: it is a folder. Choose another name.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise StorageError(
            f"Could not write {target}: {error.strerror or error}. {way_out(error)}", detail=repr(error)
        ) from error


def _umask() -> int:
    """The process's mask for new files, which can only be read by changing it: by one thread at a time."""
    with _masking:
        mask = os.umask(0)
        os.umask(mask)
    return mask


def write_bytes(target: Path | str, data: bytes) -> None:
    """Write ``data`` atomically."""
    with atomic_path(target) as path:
        path.write_bytes(data)


def write_json(target: Path | str, value: Any) -> None:
    """Write ``value`` as indented UTF-8 JSON, atomically."""
    write_bytes(target, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def write_npz(
    target: Path | str, meta: dict[str, Any], arrays: dict[str, np.ndarray], *, compress: bool = True
) -> None:
    """Write arrays and one JSON header (member ``meta``, uint8) as an .npz, atomically."""
    header = np.frombuffer(json.dumps(meta, ensure_ascii=False).encode(), dtype=np.uint8)
    with atomic_path(target) as path, open(path, "wb") as file:
        (np.savez_compressed if compress else np.savez)(file, meta=header, **arrays)


def read_npz(source: Path | str, format_name: str, newest_version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what write_npz wrote: (meta, arrays). Pickles are never loaded.

    Raises FormatError when the file is missing, damaged, of another format, or of a version above ``newest_version``.
    """
    source = Path(source)
    try:
        with np.load(source, allow_pickle=False) as archive:
            meta = json.loads(archive["meta"].tobytes().decode())
            arrays = {name: archive[name] for name in archive.files if name != "meta"}
    except FileNotFoundError as error:
        raise FormatError(f"{source} does not exist.") from error
    except Exception as error:  # zip, zlib, json and numpy each raise their own on damaged input
        raise FormatError(f"{source} is damaged or not a {format_name} file; make it again.", repr(error)) from error
    if not isinstance(meta, dict) or meta.get("format") != format_name:
        raise FormatError(f"{source} is no {format_name} file.")
    version = meta.get("version")
    if type(version) is not int or version < 1:
        raise FormatError(f"{source}: {str(version)[:100]} is no version of the {format_name} format; make it again.")
    if version > newest_version:
        raise FormatError(
            f"{source} has version {version} of the {format_name} format and this Blendsplat reads up to "
            f"{newest_version}: update Blendsplat."
        )
    return meta, arrays
