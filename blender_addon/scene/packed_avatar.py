# SPDX-License-Identifier: GPL-3.0-or-later
"""An avatar's file inside the .blend, for avatars whose renders need it: it cannot be lost on the way to a farm.

The bytes lie in a custom property of the carrier's mesh. Whoever asks for the file while it is not where the scene says
gets it unpacked into Blender's own temporary folder, which goes when Blender ends.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import bpy

from .. import paths
from ..file_names import portable_name

_PACKED, _NAME, _DIGEST = "blendsplat_packed", "blendsplat_packed_name", "blendsplat_packed_digest"
_ENDING = ".avatar.npz"


class PackError(Exception):
    """The file cannot be packed; the text is a sentence for the artist."""


def is_packed(carrier: bpy.types.Object) -> bool:
    """The avatar's file lies in the .blend."""
    return carrier.data is not None and _PACKED in carrier.data


def size_of(carrier: bpy.types.Object) -> int:
    """How many bytes are packed."""
    return len(carrier.data[_PACKED]) if is_packed(carrier) else 0


def pack(carrier: bpy.types.Object) -> int:
    """Put the avatar's file, as it is now, into the .blend -> its bytes. Raises PackError."""
    path = own_path(carrier)
    if path is None:
        raise PackError(f"No file is chosen for {carrier.name}: choose it (Its File), then pack it.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PackError(f"{path} cannot be read: {error.strerror or error}.") from error
    carrier.data[_PACKED], carrier.data[_NAME] = content, path.name
    carrier.data[_DIGEST] = hashlib.sha256(content).hexdigest()[:16]  # rendering asks for the file every frame
    return len(content)


def unpack(carrier: bpy.types.Object) -> Path:
    """Take the file out of the .blend again -> where it lies: where the scene says, written there if it is not there;
    beside the .blend where the scene says nothing. Raises PackError."""
    path, name = own_path(carrier), _name(carrier)
    if path is None and not bpy.data.filepath:
        raise PackError("Save this .blend first: the avatar's file is put beside it.")
    path = path or Path(bpy.data.filepath).with_name(name)
    try:
        if not path.is_file():
            _write(path, carrier.data)
    except OSError as error:
        raise PackError(f"{path} cannot be written: {error.strerror or error}.") from error
    carrier.blendsplat.avatar_path = paths.kept(path)
    for name in (_PACKED, _NAME, _DIGEST):
        if name in carrier.data:
            del carrier.data[name]
    return path


def own_path(carrier: bpy.types.Object) -> Path | None:
    """Where the scene says that the file lies."""
    return paths.absolute(carrier.blendsplat.avatar_path, paths.home_of(carrier, "avatar_path"))


def file_of(carrier: bpy.types.Object) -> Path | None:
    """The avatar's file as this machine can read it: where the scene says, else the packed one; None where no file is
    chosen and none is packed. The path of a file that is nowhere is returned as the scene says it."""
    path = own_path(carrier)
    if (path is not None and path.is_file()) or not is_packed(carrier):
        return path
    path = Path(bpy.app.tempdir) / f"avatar {carrier.data[_DIGEST]}" / _name(carrier)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, carrier.data)
    return path


def _name(carrier: bpy.types.Object) -> str:
    """The packed file's, which another system may have given it."""
    name = Path(str(carrier.data[_NAME])).name
    return portable_name(name.removesuffix(_ENDING)) + _ENDING if name.endswith(_ENDING) else portable_name(name)


def _write(path: Path, mesh: bpy.types.Mesh) -> None:
    """The packed bytes as a file, whole or not at all. Raises OSError."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(bytes(mesh[_PACKED]))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
