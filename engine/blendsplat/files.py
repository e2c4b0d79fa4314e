# SPDX-License-Identifier: Apache-2.0
"""Writing files so that nothing is ever half-written: a temporary name beside the target, flushed, then renamed. And
reading other people's so that none can hold the program up, or fill its memory."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import sys
import tempfile
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.errors import FormatError, StorageError
from blendsplat.file_names import held_by_windows

_masking = threading.Lock()
_UNPACKED = 2**27  # bytes of an archive's content that nobody has to account for
_SQUEEZED = 50  # times that a larger one may have been squeezed: numbers that mean something are not squeezed so far
_DIGITS = 100  # of a whole number in a JSON file: a float can hold it
_MARK = ".blendsplat-"  # in a temporary file's name
_LEFT = re.compile(r"\..*\.blendsplat-[a-z0-9_]{8}(\.[^.]*)?")
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_DISK = (*_FULL, errno.EROFS, errno.EIO, errno.ENODEV, errno.ENXIO, getattr(errno, "ESTALE", errno.EIO))
_swept: set[Path] = set()  # folders in which this process has looked for what killed ones left


@contextlib.contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the target's folder (same suffix); rename it onto ``target`` if the block succeeds.

    Raises StorageError, with the target untouched and the temporary file removed, when the disk refuses. What a killed
    process left of such files goes when the next one first writes into the folder.
    """
    target = Path(target)
    temporary: Path | None = None
    handle: int | None = None
    try:
        _check_place(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_once(target.parent)
        handle, temporary = _new_temporary(target)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        if sys.platform == "win32":  # which renames no open file
            os.close(handle)
            handle = None
        os.replace(temporary, target)
    except OSError as error:
        raise StorageError(
            f"Could not write {target}: {error.strerror or error}. {way_out(error)}", detail=repr(error)
        ) from error
    finally:
        if handle is not None:
            os.close(handle)
        if temporary is not None:
            with contextlib.suppress(OSError):  # a disk that has turned read-only keeps it; the error above says why
                temporary.unlink(missing_ok=True)


def _check_place(target: Path) -> None:
    """Raise StorageError where something else than a file stands: renaming would put a file in a device's place; and on
    Windows for a name that is none there, which it may take for a device's, another file's or a stream inside of one.
    """
    if sys.platform == "win32" and (better := held_by_windows(target.name)) != target.name:
        raise StorageError(
            f"Could not write {target}: Windows holds no file of this name. Choose another one, as {better}."
        )
    try:
        mode = target.stat().st_mode
    except OSError:
        return
    if stat.S_ISDIR(mode):
        raise StorageError(f"Could not write {target}: it is a folder. Choose another name.")
    if not stat.S_ISREG(mode):
        raise StorageError(f"Could not write {target}: it is a pipe or a device and no file. Choose another name.")


def _new_temporary(target: Path) -> tuple[int, Path]:
    """A temporary file beside ``target`` and its handle: while that is open, no process sweeps the file."""
    while True:
        prefix = f".{target.stem[:40]}{_MARK}"
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=target.suffix, dir=target.parent)
        lock(handle)
        if os.fstat(handle).st_nlink:  # else swept just before it was locked
            return handle, Path(name)
        os.close(handle)


def lock(handle: int) -> bool:
    """Mark an open file as in use until it is closed, or its process dies: whether nobody else has. On Windows an open
    file cannot be removed anyway, and a disk without locks does without."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def abandoned(mark: Path) -> bool:
    """Whether nobody has ``mark`` open and locked: who did is dead, or it never came to be. Raises OSError."""
    try:
        if sys.platform == "win32":
            mark.unlink()
            return True
        handle = os.open(mark, os.O_RDWR)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    try:
        return lock(handle)
    finally:
        os.close(handle)


def sweep_once(folder: Path) -> None:
    """Remove the temporary files that killed processes left in ``folder``, when this process first writes there."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if _LEFT.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_dead(Path(entry.path))


def _remove_dead(temporary: Path) -> None:
    """Unless its writer lives."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            temporary.unlink()
            return
        handle = os.open(temporary, os.O_RDWR)
        try:
            if lock(handle):
                temporary.unlink()
        finally:
            os.close(handle)


def of_disk(error: BaseException) -> bool:
    """Whether the system said that a disk is full, read-only or failing, wherever that came up."""
    return isinstance(error, OSError) and error.errno in _DISK


def way_out(error: OSError) -> str:
    """What to do when the disk refuses, by its reason."""
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "Choose a folder that you may write to."
    if error.errno in _FULL:
        return "Free some space or choose another folder."
    return "Choose another folder, or look whether the disk is still there."


def check_writable(target: Path | str) -> None:
    """Raise StorageError, before hours of work, where ``target`` could not be written."""
    target = Path(target)
    _check_place(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_once(target.parent)
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
    with atomic_path(target) as path:
        save_arrays(path, {"meta": header, **arrays}, compress)


def save_arrays(path: Path, arrays: dict[str, np.ndarray], compress: bool = False) -> None:
    """As numpy's savez does, whose archive stays open when the disk is full, and complains on the user's screen when it
    is collected. Raises OSError."""
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def check_file(path: Path | str) -> None:
    """Raise FormatError where there is something that is no file: a pipe or a device may never end. What is absent or
    out of reach is for whoever opens it to say."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise FormatError(f"{path} is {what} and not a file; check the path.")


def check_unpacked(archive: zipfile.ZipFile, size: int) -> None:
    """Raise FormatError where an archive of ``size`` bytes would fill the memory with what nobody meant."""
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(_UNPACKED, _SQUEEZED * size):
        raise FormatError(f"{archive.filename} would unpack to {unpacked / 2**20:.0f} MiB; fetch or make it again.")


def read_json(path: Path | str) -> Any:
    """A JSON file, with or without the mark that Windows' editors put before it. Raises FormatError for what is no
    file, OSError, and ValueError for what is no JSON or nested deeper than anything of use is."""
    check_file(path)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"), parse_int=_whole_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole_number(digits: str) -> int:
    """Raises ValueError for numbers that no float can hold."""
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def read_toml(path: Path | str) -> dict[str, Any]:
    """A TOML file. Raises as read_json."""
    check_file(path)
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


@contextlib.contextmanager
def opened_npz(path: Path | str) -> Iterator[Any]:
    """numpy's archive (.files, [name]) of the file ``path``; pickles are never loaded.

    Raises FormatError for what is no file and for an archive that would fill the memory, FileNotFoundError, and
    whatever zip, zlib and numpy raise on damaged input.
    """
    check_file(path)
    with np.load(path, allow_pickle=False) as archive:
        check_unpacked(archive.zip, os.path.getsize(path))
        yield archive


def read_npz(source: Path | str, format_name: str, newest_version: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what write_npz wrote: (meta, arrays). Pickles are never loaded.

    Raises FormatError when the file is missing, damaged, of another format, or of a version above ``newest_version``.
    """
    source = Path(source)
    try:
        with opened_npz(source) as archive:
            meta = json.loads(archive["meta"].tobytes().decode())
            arrays = {name: archive[name] for name in archive.files if name != "meta"}
        if not all(isinstance(array, np.ndarray) and array.dtype != np.longdouble for array in arrays.values()):
            raise ValueError("a member that is no array, or of numbers that no other program knows")
    except FileNotFoundError as error:
        raise FormatError(f"{source} does not exist.") from error
    except FormatError:
        raise
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
