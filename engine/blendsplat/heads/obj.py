# SPDX-License-Identifier: Apache-2.0
"""Reads the little of Wavefront OBJ that head models come in: positions, texture coordinates, faces, material names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blendsplat.errors import FormatError, InputError
from blendsplat.files import check_file


@dataclass
class ObjMesh:
    """Faces have three or four corners; the fourth is -1 for a triangle. uv_faces is -1 where a face has no UVs."""

    vertices: np.ndarray  # [V,3] float64
    uvs: np.ndarray  # [T,2] float64
    faces: np.ndarray  # [Q,4] int64
    uv_faces: np.ndarray  # [Q,4] int64
    materials: np.ndarray  # [Q] str, "" before the first usemtl


def read_obj(path: Path, *, positions_only: bool = False) -> ObjMesh:
    """Read ``path``. positions_only skips everything but the vertices (faces come back empty).

    Raises InputError when it does not exist, FormatError when a line does not parse or an index points nowhere.
    """
    check_file(path)
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
    try:
        vertices = _numbers([line for line in lines if line.startswith("v ")], 3)
        if not len(vertices):
            raise ValueError("no vertex is in it")
        if positions_only:
            empty = np.zeros((0, 4), np.int64)
            return ObjMesh(vertices, np.zeros((0, 2)), empty, empty, np.zeros(0, str))
        uvs = _numbers([line for line in lines if line.startswith("vt ")], 2)
        faces, uv_faces, materials = _faces(lines, len(vertices), len(uvs))
    except (ValueError, IndexError) as error:
        raise FormatError(
            f"{path} is not an OBJ file this reader understands; export it again.", repr(error)
        ) from error
    return ObjMesh(vertices, uvs, faces, uv_faces, materials)


def _numbers(lines: list[str], width: int) -> np.ndarray:
    values = np.array([line.split()[1 : width + 1] for line in lines], dtype=np.float64).reshape(-1, width)
    if not np.isfinite(values).all():
        raise ValueError("coordinates that are not finite")
    return values


def _faces(lines: list[str], vertex_count: int, uv_count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    faces: list[list[int]] = []
    uv_faces: list[list[int]] = []
    materials: list[str] = []
    material = ""
    for line in lines:
        if line.startswith("usemtl"):
            material = line[6:].strip()
        elif line.startswith("f "):
            corners = [corner.split("/") for corner in line.split()[1:]]
            if not 3 <= len(corners) <= 4:
                raise ValueError(f"a face with {len(corners)} corners")
            points = [_index(corner[0], vertex_count) for corner in corners]
            texels = [_index(c[1], uv_count) if len(c) > 1 and c[1] else -1 for c in corners]
            faces.append(points + [-1] * (4 - len(points)))
            uv_faces.append(texels + [-1] * (4 - len(texels)))
            materials.append(material)
    shape = (-1, 4)
    return (
        np.array(faces, np.int64).reshape(shape),
        np.array(uv_faces, np.int64).reshape(shape),
        np.array(materials, str),
    )


def _index(text: str, count: int) -> int:
    """OBJ's one-based (or negative, from the end) index as a zero-based one."""
    value = int(text)
    value = value - 1 if value > 0 else count + value
    if not 0 <= value < count:
        raise ValueError(f"index {text} of {count}")
    return value
