# SPDX-License-Identifier: Apache-2.0
"""Reads scans to measure fits against: a mesh (OBJ, PLY, GLB) and its seven landmarks.

Without landmarks no protocol can start, so their absence is an error that says which ones are meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blendsplat.errors import FormatError, InputError
from blendsplat.files import check_file, read_json
from blendsplat.heads.obj import read_obj

LANDMARKS = (
    "right eye, outer corner", "right eye, inner corner", "left eye, inner corner", "left eye, outer corner",
    "nose, bottom", "mouth, right corner", "mouth, left corner",
)  # fmt: skip
EYES_APART = 0.09  # metres between the outer corners of a person's eyes, by which a scan's unit is guessed
PEOPLES_EYES = (0.065, 0.115)  # what they may be of anyone, children included


@dataclass
class Scan:
    """vertices [V,3] and landmarks [7,3] (in LANDMARKS' order) in metres, faces [F,3]."""

    vertices: np.ndarray
    faces: np.ndarray
    landmarks: np.ndarray


def read_scan(path: Path, landmarks: Path | None, unit: float | None = None) -> Scan:
    """landmarks: a text file of seven lines "x y z", an .npy or a .json list. unit: metres for one unit of the scan;
    None: see guess_unit. Raises InputError, FormatError."""
    if landmarks is None:
        names = "; ".join(LANDMARKS)
        raise InputError(
            f"The scan {path.name} needs a file with seven landmarks, one line x y z for each: {names}. They align the "
            "fit with it."
        )
    points = read_landmarks(landmarks)
    vertices, faces = _read_mesh(path)
    if len(faces) == 0 or len(vertices) < 100 or not np.isfinite(vertices).all():
        raise FormatError(f"{path.name} holds no triangle mesh of a head; export it again.")
    unit = guess_unit(points) if unit is None else unit
    extent = np.ptp(vertices, axis=0).max()
    if (points < vertices.min(0) - 0.2 * extent).any() or (points > vertices.max(0) + 0.2 * extent).any():
        raise InputError(f"The landmarks of {landmarks.name} lie outside the scan {path.name}: do they belong to it?")
    return Scan(vertices * unit, faces, points * unit)


def read_landmarks(path: Path) -> np.ndarray:
    """[7,3] float64. Raises InputError (absent), FormatError (not seven finite points, or all in one place)."""
    check_file(path)
    try:
        if path.suffix.lower() == ".npy":
            points = np.load(path, allow_pickle=False)
        elif path.suffix.lower() == ".json":
            points = np.array(read_json(path))
        else:
            points = np.array(
                [line.replace(",", " ").split() for line in path.read_text(encoding="utf-8-sig").splitlines()]
            )
        points = np.asarray(points, dtype=np.float64)
    except OSError as error:
        raise InputError(f"The landmarks {path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # text, JSON and numpy each raise their own on damaged input
        raise FormatError(f"{path.name} is no list of seven points x y z.", repr(error)) from error
    if points.shape != (7, 3) or not np.isfinite(points).all():
        raise FormatError(f"{path.name} must hold seven finite points x y z; it holds numbers of shape {points.shape}.")
    if np.linalg.matrix_rank(points - points.mean(0), tol=1e-6 * max(np.abs(points).max(), 1e-12)) < 2:
        raise FormatError(f"The points of {path.name} lie on one line; they cannot align a head.")
    return points


def guess_unit(landmarks: np.ndarray) -> float:
    """Metres for one unit of a scan with landmarks [7,3]: the power of ten nearest to a person's eyes, or, where that
    would make nobody's eyes (a scan in no known unit), what makes them EYES_APART."""
    apart = float(np.linalg.norm(landmarks[0] - landmarks[3]))
    power = float(10.0 ** np.round(np.log10(EYES_APART / apart)))
    return power if PEOPLES_EYES[0] <= apart * power <= PEOPLES_EYES[1] else EYES_APART / apart


def _read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if path.suffix.lower() == ".obj":
        mesh = read_obj(path)
        triangles = mesh.faces[:, :3]
        quads = mesh.faces[mesh.faces[:, 3] >= 0]
        return mesh.vertices, np.concatenate([triangles, quads[:, [0, 2, 3]]])
    return mesh_of(read_with_trimesh(path), path)


def mesh_of(loaded: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(vertices [V,3] float64, faces [F,3] int64) of what trimesh read. Raises FormatError when that is no mesh."""
    vertices, faces = np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int64)
    if len(faces) == 0 or len(vertices) < 100 or not np.isfinite(vertices).all():
        raise FormatError(f"{path.name} holds no triangle mesh of a head; export it again.")
    if not 0 <= faces.min() <= faces.max() < len(vertices):
        raise FormatError(f"{path.name} has faces that name vertices which it does not have; export it again.")
    return vertices, faces


def read_with_trimesh(path: Path) -> Any:
    """A trimesh.Trimesh with its colours. Raises InputError (no such file, another kind), FormatError (damaged)."""
    if path.suffix.lower() not in (".ply", ".glb", ".obj"):
        raise InputError(f"The scan {path.name} must be an .obj, .ply or .glb file.")
    if not path.is_file():
        raise InputError(f"The scan {path} does not exist; check the path.")
    import trimesh  # slow to load

    try:
        return trimesh.load(path, force="mesh", process=False)
    except Exception as error:  # trimesh raises whatever its parsers raise
        raise FormatError(
            f"{path.name} is damaged or no mesh: it cannot be read. Fetch or export it again.", repr(error)
        ) from error
