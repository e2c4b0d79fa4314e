# SPDX-License-Identifier: Apache-2.0
"""What FLAME's users have beside the pickle: masks, a landmark embedding, lids. Each helps and none is required; one
that lies there and cannot be used is told on standard error, and its place is taken by what the geometry says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.errors import BlendsplatError, FormatError
from blendsplat.heads.foreign_files import load_npy, load_pickle

EYELIDS = ("l_eyelid.npy", "r_eyelid.npy")
_JAW_LINE = 17  # points 0 to 16 of the 68: they slide along the face, so that static embeddings leave them out
# How many points an embedding has -> which of the 68 is its first. FLAME's own has 51, VHAP's 53 and 70: two of the
# eyes come last.
_FIRST_POINT = {51: _JAW_LINE, 53: _JAW_LINE, 68: 0, 70: 0}
_LIPS = (48, 68)


def read_masks(path: Path) -> dict[str, np.ndarray] | None:
    """Vertex indices by region from FLAME_masks.pkl beside the pickle ``path``; None where there is none to use."""
    for found, content in _readable(path, "*masks*.pkl", load_pickle):
        try:
            return {str(name): np.asarray(content[name]).ravel().astype(np.int64) for name in content}
        except (TypeError, LookupError, ValueError, OverflowError):
            _warn(f"{found} does not hold lists of vertices by name; it is left out.")
    return None


def read_lips(path: Path, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray | None:
    """Points 48 to 67 of the 68 landmarks [20,3], outer lips (12) then inner ones, by the landmark embedding beside the
    pickle ``path``: vertices [V,3], faces [F,3]. None where there is none to use."""
    for found, content in _readable(path, "*landmark_embedding*.npy", load_npy):
        try:
            return _lips_of(content, vertices, faces)
        except ValueError as error:
            _warn(f"{found} {error}; it is left out, and the mouth is found by the head's geometry.")
    return None


def _lips_of(embedding: Any, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Raises ValueError with the second half of a sentence about the file."""
    if not isinstance(embedding, dict):
        raise ValueError("is not a landmark embedding of FLAME")
    counts = []
    for kind in ("static", "full"):
        try:
            face = np.asarray(embedding[f"{kind}_lmk_faces_idx"]).astype(np.int64).ravel()
            barycentrics = np.asarray(embedding[f"{kind}_lmk_bary_coords"], np.float64).reshape(-1, 3)
        except (KeyError, TypeError, ValueError):
            continue
        counts.append(str(len(face)))
        if len(face) not in _FIRST_POINT or len(face) != len(barycentrics):
            continue
        start, end = (point - _FIRST_POINT[len(face)] for point in _LIPS)
        face, barycentrics = face[start:end], barycentrics[start:end]
        if not 0 <= face.min() <= face.max() < len(faces) or not np.isfinite(barycentrics).all():
            raise ValueError("names faces that the head does not have, or holds numbers that are not finite")
        return np.asarray((vertices[faces[face]] * barycentrics[:, :, None]).sum(1))
    have = f"has {' and '.join(counts)} points" if counts else "has no static points"
    raise ValueError(f"{have} instead of 51, 53 or 68")


def read_eyelids(path: Path, vertices: np.ndarray, eyes: np.ndarray) -> np.ndarray | None:
    """Displacements [2,V,3] in metres that close the left and the right eye, from l_eyelid.npy and r_eyelid.npy beside
    the pickle ``path`` (metrical-tracker's: [V,3] each, times 0 to 1). None where there are none to use.

    vertices [V,3] are the template's, eyes [2,3] the middles of the left and right eyeball: they say which is which.
    """
    files = [path.parent / name for name in EYELIDS]
    if not any(file.exists() for file in files):
        return None
    try:
        lids = np.stack([_eyelid_of(file, vertices.shape) for file in files])
        return _left_and_right(lids, vertices, eyes)
    except BlendsplatError as error:
        _warn(f"{error.sentence} The lids are made from the head's geometry instead.")
        return None


def _eyelid_of(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    content = load_npy(file)
    if isinstance(content, np.ndarray) and content.dtype.kind not in "fiu":
        raise FormatError(f"{file} holds something else than numbers.")
    try:
        lid = np.asarray(content, np.float64)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{file} holds something else than numbers.", repr(error)) from error
    if lid.shape != shape:
        raise FormatError(f"{file} has shape {lid.shape} instead of {shape}.")
    if not np.isfinite(lid).all():
        raise FormatError(f"{file} holds values that are not finite.")
    return lid


def _left_and_right(lids: np.ndarray, vertices: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """The two lids [2,V,3], that of the person's left eye first: files may be named as a viewer sees them."""
    nearest = np.linalg.norm(vertices[:, None] - eyes, axis=2).argmin(1)
    amount = np.array([[np.linalg.norm(lid[nearest == side], axis=1).sum() for side in range(2)] for lid in lids])
    sides = amount.argmax(1)
    if sides[0] == sides[1] or not amount.any(1).all():
        raise FormatError(f"{' and '.join(EYELIDS)} do not move one eye each.")
    return lids[np.argsort(sides)]


def _readable(path: Path, pattern: str, read: Callable[[Path], Any]) -> Iterator[tuple[Path, Any]]:
    for found in sorted(path.parent.glob(pattern)):
        try:
            yield found, read(found)
        except BlendsplatError as error:
            _warn(f"{error.sentence} It is left out.")


def _warn(sentence: str) -> None:
    """Standard error, as heads.embedding does: loading a head has no other place for what does not stop it."""
    print(f"warning: {sentence}", file=sys.stderr)
