# SPDX-License-Identifier: Apache-2.0
"""The avatar file ``NAME.avatar.npz`` of docs/formats.md: numpy arrays and a JSON header, checked on both ways.

What every system's file holds is here: the person's head, the training camera, and the *carrier*, the Gaussians on the
head that Blender shows and keys. What else is in it, a system's schema says. Nothing in a file can run code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.avatars.seen import PITCHES, YAWS
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
# Where the avatar's own clip held the head, and its person's neutral face; older files do not say.
_OPTIONAL: dict[str, Shape] = {
    "neutral_translation": (3,), "neutral_rotation": (3, 3), "neutral_expression": ("E",), "neutral_jaw_pose": (3,),
    "neutral_eyes_pose": (2, 3), "neutral_eyelids": (2,),
}  # fmt: skip
# What the clip showed (avatars/seen.py): lowest, 1st and 99th percentile, highest; and from where it was seen.
_SEEN: dict[str, Shape] = {
    "seen.expression": (4, "E"), "seen.jaw_pose": (4, 3), "seen.neck_pose": (4, 3), "seen.eyes_pose": (4, 2, 3),
    "seen.eyelids": (4, 2), "seen.views": (PITCHES, YAWS),
}  # fmt: skip
_HALVES = ("delta_positions", "delta_quats", "delta_colors")  # may be float16, and then stay so
_INDICES = {"rig.faces": "V", "rig.uv_faces": "T", "triangle": "F"}
_LARGEST = np.finfo(np.float32).max
_HEADER = (
    "system", "name", "head", "blendshapes", "gaussians", "expression_names", "expression_range",
    "background_trained", "training", "engine",
)  # fmt: skip


@dataclass(frozen=True)
class FileSchema:
    """What a system's files hold beyond what every avatar's do. Sizes N, K, V, F, T, E are the shared ones.

    indices: array -> letter of the size that its integers lie below. counts: header entry -> (letter, how to count it).
    ranges: arrays [2,...] whose first row is nowhere above the second. covariances: arrays that must be such. halves:
    arrays that may be half precision.
    header: entries that the header must have, beside those of all and of ``counts``.
    """

    system: str
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    optional: Mapping[str, Shape] = field(default_factory=dict)
    indices: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, tuple[str, Callable[[Any], int]]] = field(default_factory=dict)
    ranges: Sequence[str] = ()
    covariances: Sequence[str] = ()
    halves: Sequence[str] = ()
    header: Sequence[str] = ()


_COUNTS: dict[str, tuple[str, Callable[[Any], int]]] = {
    "gaussians": ("N", int), "blendshapes": ("K", int), "expression_names": ("E", len),
}  # fmt: skip


def write_avatar(path: Path | str, schema: FileSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write an avatar atomically. ``meta`` is the header without format, version and system.

    Raises FormatError for arrays or header entries that a reader would refuse, StorageError when the disk refuses.
    """
    path = Path(path)
    whole = {"format": FORMAT, "version": VERSION, "system": schema.system, **meta}
    typed = _typed(schema, arrays)
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
    schema = schemas[system]
    _check(path, schema, meta, arrays)
    known = {name: arrays[name] for name in _shapes(schema) if name in arrays}
    return meta, arrays | _typed(schema, known)


def _shapes(schema: FileSchema) -> dict[str, Shape]:
    """Every array that a file of the system may hold."""
    return _SHAPES | dict(schema.shapes) | _optional(schema)


def _optional(schema: FileSchema) -> dict[str, Shape]:
    return _OPTIONAL | _SEEN | dict(schema.optional)


def _integers(schema: FileSchema) -> tuple[str, ...]:
    """Names of the arrays that hold integers."""
    return (*_INDICES, *schema.indices, "camera.size")


def _typed(schema: FileSchema, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every array as the format has it: int32, float32 or float16, in C-order and the machine's byte order."""
    integers = _integers(schema)

    def kind(name: str, array: np.ndarray) -> type[np.generic]:
        if name in integers:
            return np.int32
        return np.float16 if name in (*_HALVES, *schema.halves) and array.dtype == np.float16 else np.float32

    return {name: np.ascontiguousarray(array, kind(name, array)) for name, array in arrays.items()}


def _check(path: Path, schema: FileSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    for key in (*_HEADER, *schema.header, *schema.counts):
        if key not in meta:
            raise FormatError(f"{path} lacks {key!r} in its header; train or export the avatar again.")
    sizes: dict[str, int] = {}
    integers, optional = _integers(schema), _optional(schema)
    for name, shape in _shapes(schema).items():
        if name not in arrays:
            if name in optional:
                continue
            raise FormatError(f"{path} lacks the array {name!r}; train or export the avatar again.")
        _check_shape(path, name, arrays[name].shape, shape, sizes)
        kind = arrays[name].dtype.kind
        if kind not in ("iu" if name in integers else "f"):
            raise FormatError(f"{path}: the array {name!r} holds {arrays[name].dtype}; train the avatar again.")
        if kind == "f" and not np.abs(arrays[name]).max(initial=0) <= _LARGEST:
            raise FormatError(f"{path}: the array {name!r} holds values that are not finite; train the avatar again.")
    _check_values(path, schema, arrays, sizes)
    _check_header(path, schema, meta, sizes)


def _check_values(path: Path, schema: FileSchema, arrays: dict[str, np.ndarray], sizes: dict[str, int]) -> None:
    """What the numbers of arrays that have the right shape must be."""
    for name, target in (_INDICES | dict(schema.indices)).items():
        index = arrays.get(name)
        if index is not None and index.size and (index.min() < 0 or index.max() >= sizes[target]):
            raise FormatError(f"{path}: the array {name!r} points outside the head's mesh; train the avatar again.")
    if arrays["camera.size"].min() < 1:
        raise FormatError(f"{path}: the array 'camera.size' says that pictures have no pixels; train the avatar again.")
    turn = np.asarray(arrays.get("neutral_rotation", np.eye(3)), np.float64)
    if not (np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) and np.linalg.det(turn) > 0):
        raise FormatError(f"{path}: the array 'neutral_rotation' is no rotation; train the avatar again.")
    for name in schema.ranges:
        if name in arrays and (arrays[name][0] > arrays[name][1]).any():
            raise FormatError(f"{path}: the array {name!r} has its lowest above its highest; train the avatar again.")
    for name in _SEEN:
        if name in arrays and name != "seen.views" and (np.diff(arrays[name], axis=0) < 0).any():
            raise FormatError(f"{path}: the array {name!r} has its lowest above its highest; train the avatar again.")
    if "seen.views" in arrays and arrays["seen.views"].min() < 0:
        raise FormatError(f"{path}: the array 'seen.views' counts less than nothing; train the avatar again.")
    for name in schema.covariances:
        if name in arrays and not _is_covariance(arrays[name]):
            raise FormatError(f"{path}: the array {name!r} is no covariance; train the avatar again.")


def _is_covariance(array: np.ndarray) -> bool:
    """Whether [K,K] is symmetric and has no negative eigenvalue, as far as rounding tells."""
    exact = np.asarray(array, np.float64)
    size = float(np.abs(exact).max(initial=0))
    return bool(
        np.allclose(exact, exact.T, atol=1e-5 * size)
        and np.linalg.eigvalsh(exact / max(size, 1e-30)).min(initial=0) >= -1e-4
    )


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
        low, high = map(float, meta["expression_range"])
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{path} has a header that makes no sense; train the avatar again.", repr(error)) from error
    for key, have, want in counted:
        if have != want:
            raise FormatError(f"{path}: the header's {key} says {have}, the arrays {want}; train the avatar again.")
    names = meta["expression_names"]
    sensible = {
        "expression_range": -np.inf < low <= high < np.inf,
        "expression_names": isinstance(names, list) and all(isinstance(name, str) for name in names),
        "name": isinstance(meta["name"], str),
        "head": isinstance(meta["head"], str),
        "training": isinstance(meta["training"], dict),
        "performance": isinstance(meta.get("performance", ""), str),
    }
    for key, fits in sensible.items():
        if not fits:
            raise FormatError(f"{path}: the header's {key} is {str(meta[key])[:100]}; train the avatar again.")
