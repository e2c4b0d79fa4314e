# SPDX-License-Identifier: Apache-2.0
"""A head's skin as hair and cloth meet it: samples with normals that tell a point's height over the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from blendsplat.geometry import vertex_normals
from blendsplat.heads.model import LEFT_EYE_JOINT, HeadModel, HeadParams

Array = np.ndarray
INSIDE = ("mouth_interior", "teeth_upper", "teeth_lower", "tongue", "left_eyeball", "right_eyeball")
EYES_APART = 0.062  # metres between the eyes of the adult whose measures this room speaks in
_SAMPLE_APART = 0.004  # metres


@dataclass(frozen=True)
class Skin:
    """Points [P,3] on a surface with their outward normals [P,3]."""

    points: Array
    normals: Array
    tree: cKDTree

    @classmethod
    def of(cls, points: Array, normals: Array) -> Skin:
        return cls(points, normals, cKDTree(points))

    def height(self, at: Array) -> tuple[Array, Array]:
        """Signed distance [N] of points [N,3] from the surface (positive outside) and its normals [N,3] there."""
        near = self.tree.query(at)[1]
        normals = self.normals[near]
        return ((at - self.points[near]) * normals).sum(1), normals


@dataclass(frozen=True)
class Anatomy:
    """A head of one identity at rest, upright: its vertices and where things are on it."""

    head: HeadModel
    vertices: Array  # [V,3]
    normals: Array  # [V,3]
    outer: Array  # [F'] faces of the skin: not the eyeballs, nor the inside of the mouth
    rest: Array  # [V,3] of the mean head, millimetres of an adult's, from the middle between the eyes
    eyes: Array  # [3] the middle between the eyes
    scale: float  # an adult's 1

    def rest_frame(self, points: Array) -> Array:
        """Points [N,3] -> millimetres of an adult's head, from the middle between this one's eyes."""
        return (points - self.eyes) / self.scale * 1e3

    def near_neck(self, points: Array) -> Array:
        """The vertices [N] of the skin that are nearest to points [N,3]."""
        rows = np.unique(self.head.faces.numpy()[self.outer])
        return np.asarray(rows[cKDTree(self.vertices[rows]).query(points)[1]])

    @property
    def ears(self) -> Array:
        """[V] bool: the ears' vertices."""
        mask = np.zeros(len(self.vertices), bool)
        for name in ("left_ear", "right_ear"):
            mask[self.head.regions.get(name, np.zeros(0, np.int64))] = True
        return mask

    def skin(self, ears: bool = True) -> Skin:
        """The outer skin, sampled every few millimetres, with the ears or without."""
        faces = self.head.faces.numpy()[self.outer]
        if not ears and self.ears.any():
            # Where ears begin the normals are the ears' own: that rim is left out as well.
            away = cKDTree(self.vertices[self.ears]).query(self.vertices)[0]
            faces = faces[(away[faces] > 0.008 * self.scale).all(1)]
        corners = self.vertices[faces]
        sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
        points, normals = [self.vertices[np.unique(faces)]], [self.normals[np.unique(faces)]]
        parts = np.ceil(sides / _SAMPLE_APART).astype(int).clip(1, 8)
        for count in np.unique(parts[parts > 1]):
            grid = np.array([(i, j, count - i - j) for i in range(count) for j in range(count - i)]) + 1 / 3
            weights = grid / grid.sum(1, keepdims=True)
            rows = faces[parts == count]
            points.append(np.einsum("gk,fkc->fgc", weights, self.vertices[rows]).reshape(-1, 3))
            normals.append(np.einsum("gk,fkc->fgc", weights, self.normals[rows]).reshape(-1, 3))
        return Skin.of(np.concatenate(points), unit(np.concatenate(normals)))


def anatomy(head: HeadModel, shape: Tensor) -> Anatomy:
    """The head of identity ``shape`` [1,S], without expression."""
    params: HeadParams = head.neutral()
    params.shape = shape
    vertices, transforms = head.posed(params)
    normals = vertex_normals(vertices, head.faces)[0].numpy()
    inner = np.zeros(head.vertex_count, bool)
    for name in INSIDE:
        inner[head.regions.get(name, np.zeros(0, np.int64))] = True
    outer = np.flatnonzero(~inner[head.faces.numpy()].any(1))
    eyes = transforms[0, LEFT_EYE_JOINT:, :3, 3].numpy()
    scale = float(np.linalg.norm(eyes[0] - eyes[1])) / EYES_APART
    return Anatomy(head, vertices[0].numpy(), normals, outer, rest_of(head), eyes.mean(0), scale)


def rest_of(head: HeadModel) -> Array:
    """The mean head's vertices [V,3] in millimetres of an adult's, from the middle between the eyes."""
    eyes = head.joints[LEFT_EYE_JOINT:].numpy()
    scale = float(np.linalg.norm(eyes[0] - eyes[1])) / EYES_APART
    return np.asarray((head.template.numpy() - eyes.mean(0)) / scale * 1e3)


def unit(vectors: Array) -> Array:
    """Vectors [...,3] of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def smoothstep(low: float | Array, high: float | Array, value: Array) -> Array:
    """0 at ``low``, 1 at ``high`` (which may be the lower), smooth between."""
    t = np.clip((value - low) / (np.asarray(high) - low), 0, 1)
    return t * t * (3 - 2 * t)


def as_tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
