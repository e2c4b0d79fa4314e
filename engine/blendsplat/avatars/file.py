# SPDX-License-Identifier: Apache-2.0
"""The avatar file ``NAME.avatar.npz`` of docs/formats.md: numpy arrays and a JSON header, checked on both ways.

What every system's file holds is here: the person's head, the training camera, and the *carrier*, the Gaussians on the
head that Blender shows and keys. What else is in it, a system's schema says. Nothing in a file can run code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.errors import FormatError
from blendsplat.files import read_npz, write_npz

FORMAT = "blendsplat-avatar"
VERSION = 2
SUFFIX = ".avatar.npz"

Shape = tuple[str | int, ...]  # a letter is a size that must be the same wherever it stands
RIG_SHAPES: dict[str, Shape] = {
    "rig.template": ("V", 3), "rig.faces": ("F", 3), "rig.uvs": ("T", 2), "rig.uv_faces": ("F", 3),
    "rig.expression_directions": ("E", "V", 3), "rig.eyelid_directions": (2, "V", 3),
    "rig.pose_directions": (36, "V", 3),
    "rig.joints": (5, 3), "rig.joint_expression_directions": ("E", 5, 3), "rig.skin_weights": ("V", 5),
}  # fmt: skip
CARRIER_SHAPES: dict[str, Shape] = {
    "triangle": ("N",), "barycentrics": ("N", 3),
    "positions": ("N", 3), "log_scales": ("N", 3), "quats": ("N", 4), "opacity_logits": ("N",), "colors": ("N", 3),
    "delta_positions": ("K", "N", 3), "delta_quats": ("K", "N", 4), "delta_colors": ("K", "N", 3),
}  # fmt: skip
CAMERA_SHAPES: dict[str, Shape] = {"camera.K": (3, 3), "camera.viewmat": (4, 4), "camera.size": (2,)}
_SHAPES = RIG_SHAPES | CARRIER_SHAPES | CAMERA_SHAPES
# Where the avatar's own clip held the head; files of version 1 do not say.
_OPTIONAL: dict[str, Shape] = {"neutral_translation": (3,), "neutral_rotation": (3, 3)}
_INDICES = {"rig.faces": "V", "rig.uv_faces": "T", "triangle": "F"}
_HEADER = (
    "system", "name", "head", "blendshapes", "gaussians", "expression_names", "expression_range",
    "background_trained", "training", "engine",
)  # fmt: skip


@dataclass(frozen=True)
class FileSchema:
    """What a system's files hold beyond what every avatar's do. Sizes N, K, V, F, T, E are the shared ones.

    indices: array -> letter of the size that its integers lie below. counts: header entry -> (letter, how to count it).
    """

    system: str
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    optional: Mapping[str, Shape] = field(default_factory=dict)
    indices: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, tuple[str, Callable[[Any], int]]] = field(default_factory=dict)


_COUNTS: dict[str, tuple[str, Callable[[Any], int]]] = {
    "gaussians": ("N", int), "blendshapes": ("K", int), "expression_names": ("E", len),
}  # fmt: skip


def write_avatar(path: Path | str, schema: FileSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write an avatar atomically. ``meta`` is the header without format, version and system.

    Raises FormatError for arrays or header entries that a reader would refuse, StorageError when the disk refuses.
    """
    path, indices = Path(path), _INDICES | dict(schema.indices)
    whole = {"format": FORMAT, "version": VERSION, "system": schema.system, **meta}
    typed = {
        name: np.ascontiguousarray(array, np.int32 if name in indices or name == "camera.size" else np.float32)
        for name, array in arrays.items()
    }
    _check(path, schema, whole, typed)
    write_npz(path, whole, typed)


def read_avatar(path: Path | str, schemas: Mapping[str, FileSchema]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read and check an avatar of one of the systems in ``schemas``: (header, arrays).

    Raises FormatError with the reason and the way out; for a system that is not among them, by the system's name.
    """
    path = Path(path)
    meta, arrays = read_npz(path, FORMAT, VERSION)
    system = str(meta.get("system"))
    if system not in schemas:
        raise FormatError(f"{path} holds an avatar of the system {system!r}, which this Blendsplat lacks: update it.")
    _check(path, schemas[system], meta, arrays)
    return meta, arrays


def _check(path: Path, schema: FileSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    for key in (*_HEADER, *schema.counts):
        if key not in meta:
            raise FormatError(f"{path} lacks {key!r} in its header; train or export the avatar again.")
    sizes: dict[str, int] = {}
    optional = _OPTIONAL | dict(schema.optional)
    for name, shape in (_SHAPES | dict(schema.shapes) | optional).items():
        if name not in arrays:
            if name in optional:
                continue
            raise FormatError(f"{path} lacks the array {name!r}; train or export the avatar again.")
        _check_shape(path, name, arrays[name].shape, shape, sizes)
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise FormatError(f"{path}: the array {name!r} holds values that are not finite; train the avatar again.")
    for name, target in (_INDICES | dict(schema.indices)).items():
        index = arrays[name]
        if index.dtype.kind not in "iu" or (index.size and (index.min() < 0 or index.max() >= sizes[target])):
            raise FormatError(f"{path}: the array {name!r} points outside the head's mesh; train the avatar again.")
    _check_header(path, schema, meta, sizes)


def _check_shape(path: Path, name: str, have: tuple, want: Shape, sizes: dict[str, int]) -> None:
    """Match ``have`` against ``want``; a letter seen first is remembered in ``sizes``."""
    fits = len(have) == len(want)
    for actual, expected in zip(have, want, strict=False):
        size = sizes.setdefault(expected, actual) if isinstance(expected, str) else expected
        fits = fits and actual == size
    if not fits:
        wanted = tuple(sizes.get(w, w) if isinstance(w, str) else w for w in want)
        raise FormatError(f"{path}: the array {name!r} has shape {have} instead of {wanted}; train the avatar again.")


def _check_header(path: Path, schema: FileSchema, meta: dict[str, Any], sizes: dict[str, int]) -> None:
    try:
        counted = [
            (key, count(meta[key]), sizes[letter]) for key, (letter, count) in (_COUNTS | dict(schema.counts)).items()
        ]
        counted.append(("expression_range", len(meta["expression_range"]), 2))
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path} has a header that makes no sense; train the avatar again.", repr(error)) from error
    for key, have, want in counted:
        if have != want:
            raise FormatError(f"{path}: the header's {key} says {have}, the arrays {want}; train the avatar again.")
