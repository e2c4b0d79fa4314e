# SPDX-License-Identifier: Apache-2.0
"""The avatar file ``NAME.avatar.npz`` of docs/formats.md: numpy arrays and a JSON header, checked on both ways.

Everything that Blender and the renderer need is in it; nothing in it can run code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.errors import FormatError
from blendsplat.files import read_npz, write_npz

FORMAT = "blendsplat-avatar"
VERSION = 1
SUFFIX = ".avatar.npz"

# a letter is a size that must be the same wherever it stands
RIG_SHAPES: dict[str, tuple[str | int, ...]] = {
    "rig.template": ("V", 3), "rig.faces": ("F", 3), "rig.uvs": ("T", 2), "rig.uv_faces": ("F", 3),
    "rig.expression_directions": ("E", "V", 3), "rig.eyelid_directions": (2, "V", 3),
    "rig.pose_directions": (36, "V", 3),
    "rig.joints": (5, 3), "rig.joint_expression_directions": ("E", 5, 3), "rig.skin_weights": ("V", 5),
}  # fmt: skip
_SHAPES: dict[str, tuple[str | int, ...]] = RIG_SHAPES | {
    "triangle": ("N",), "barycentrics": ("N", 3),
    "positions": ("N", 3), "log_scales": ("N", 3), "quats": ("N", 4), "opacity_logits": ("N",), "colors": ("N", 3),
    "delta_positions": ("K", "N", 3), "delta_quats": ("K", "N", 4), "delta_colors": ("K", "N", 3),
    "mlp.0.weight": ("H", "D"), "mlp.0.bias": ("H",), "mlp.1.weight": ("G", "H"), "mlp.1.bias": ("G",),
    "mlp.2.weight": ("K", "G"), "mlp.2.bias": ("K",),
    "feature_origin": (3,), "camera.K": (3, 3), "camera.viewmat": (4, 4), "camera.size": (2,),
}  # fmt: skip
_INDICES = {"rig.faces": ("V", np.int32), "rig.uv_faces": ("T", np.int32), "triangle": ("F", np.int32)}
_HEADER = (
    "system", "name", "head", "blendshapes", "gaussians", "expression_names", "expression_range", "feature_layout",
    "background_trained", "training", "engine",
)  # fmt: skip


def write_avatar(path: Path | str, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write an avatar atomically. ``meta`` is the header without format and version; arrays as in docs/formats.md.

    Raises FormatError for arrays or header entries that a reader would refuse, StorageError when the disk refuses.
    """
    path = Path(path)
    whole = {"format": FORMAT, "version": VERSION, **meta}
    typed = {
        name: np.ascontiguousarray(array, np.int32 if name in _INDICES or name == "camera.size" else np.float32)
        for name, array in arrays.items()
    }
    _check(path, whole, typed)
    write_npz(path, whole, typed)


def read_avatar(path: Path | str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read and check an avatar: (header, arrays). Raises FormatError with the reason and the way out."""
    path = Path(path)
    meta, arrays = read_npz(path, FORMAT, VERSION)
    _check(path, meta, arrays)
    return meta, arrays


def describe_avatar(path: Path | str) -> dict[str, Any]:
    """The header of an avatar file, with the file checked."""
    return read_avatar(path)[0]


def _check(path: Path, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    for key in _HEADER:
        if key not in meta:
            raise FormatError(f"{path} lacks {key!r} in its header; train or export the avatar again.")
    sizes: dict[str, int] = {}
    for name, shape in _SHAPES.items():
        if name not in arrays:
            raise FormatError(f"{path} lacks the array {name!r}; train or export the avatar again.")
        _check_shape(path, name, arrays[name].shape, shape, sizes)
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise FormatError(f"{path}: the array {name!r} holds values that are not finite; train the avatar again.")
    for name, (target, _) in _INDICES.items():
        index = arrays[name]
        if index.dtype.kind not in "iu" or (index.size and (index.min() < 0 or index.max() >= sizes[target])):
            raise FormatError(f"{path}: the array {name!r} points outside the head's mesh; train the avatar again.")
    _check_header(path, meta, sizes)


def _check_shape(path: Path, name: str, have: tuple, want: tuple[str | int, ...], sizes: dict[str, int]) -> None:
    """Match ``have`` against ``want``; a letter seen first is remembered in ``sizes``."""
    fits = len(have) == len(want)
    for actual, expected in zip(have, want, strict=False):
        size = sizes.setdefault(expected, actual) if isinstance(expected, str) else expected
        fits = fits and actual == size
    if not fits:
        wanted = tuple(sizes.get(w, w) if isinstance(w, str) else w for w in want)
        raise FormatError(f"{path}: the array {name!r} has shape {have} instead of {wanted}; train the avatar again.")


def _check_header(path: Path, meta: dict[str, Any], sizes: dict[str, int]) -> None:
    try:
        layout = sum(int(size) for _, size in meta["feature_layout"])
        counted = (
            ("gaussians", int(meta["gaussians"]), sizes["N"]),
            ("blendshapes", int(meta["blendshapes"]), sizes["K"]),
            ("expression_names", len(meta["expression_names"]), sizes["E"]),
            ("feature_layout", layout, sizes["D"]),
            ("expression_range", len(meta["expression_range"]), 2),
        )
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path} has a header that makes no sense; train the avatar again.", repr(error)) from error
    for key, have, want in counted:
        if have != want:
            raise FormatError(f"{path}: the header's {key} says {have}, the arrays {want}; train the avatar again.")
