# SPDX-License-Identifier: Apache-2.0
"""Skin and parts as one mesh that is linear in the body's vertices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from tools.bake_head.makehuman import MakeHuman
from tools.bake_head.parts import Part, make_parts
from tools.bake_head.skin import Skin, cut_skin


@dataclass
class Assembly:
    """V vertices: the skin's first, then part by part."""

    skin: Skin
    parts: list[Part]
    points: np.ndarray  # [V,3] at rest, mm
    faces: np.ndarray  # [F,3]
    part: np.ndarray  # [V] 0: skin, k: parts[k - 1]
    mirror: np.ndarray  # [V]: the vertex on the other side

    def moved(self, displacements: np.ndarray) -> np.ndarray:
        """The body's displacements [N,3] or [M,N,3] -> the head's [...,V,3]."""
        if displacements.ndim == 3:
            return np.stack([self.moved(d) for d in displacements])
        return np.concatenate([self.skin.weights @ displacements] + [p.moved(displacements) for p in self.parts], -2)

    def rows(self, name: str) -> np.ndarray:
        """Vertices of a part; "skin": of the skin with the mouth's inside and the lids' edges."""
        return np.flatnonzero(self.part == ["skin", *(p.name for p in self.parts)].index(name))

    def face_rows(self, name: str) -> np.ndarray:
        """Faces of a part."""
        return np.flatnonzero(self.part[self.faces[:, 0]] == ["skin", *(p.name for p in self.parts)].index(name))


def assemble(source: MakeHuman) -> Assembly:
    """The head at rest, as the source has it: lips slightly parted."""
    skin, parts = cut_skin(source), make_parts(source)
    points, faces, part = [skin.weights @ source.points], [skin.faces], [np.zeros(skin.weights.shape[0], int)]
    start = len(points[0])
    for number, one in enumerate(parts, 1):
        points.append(one.points)
        faces.append(one.faces + start)
        part.append(np.full(len(one.points), number))
        start += len(one.points)
    whole, owner = np.concatenate(points), np.concatenate(part)
    return Assembly(skin, parts, whole, np.concatenate(faces), owner, _mirror(whole, owner, parts))


def _mirror(points: np.ndarray, part: np.ndarray, parts: list[Part]) -> np.ndarray:
    """[V]: nearest vertex of the mirrored part. Raises ValueError when the mesh is not its own mirror image."""
    names = ["skin", *(p.name for p in parts)]
    found = np.zeros(len(points), int)
    for number, name in enumerate(names):
        other = names.index(name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right"))
        own, theirs = np.flatnonzero(part == number), np.flatnonzero(part == other)
        away, nearest = cKDTree(points[theirs]).query(points[own] * [-1, 1, 1])
        if away.max() > 0.1:
            raise ValueError(f"The part {name} is not the mirror image of {names[other]}: {away.max():.2f} mm apart.")
        found[own] = theirs[nearest]
    return found
