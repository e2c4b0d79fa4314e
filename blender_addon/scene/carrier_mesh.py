# SPDX-License-Identifier: GPL-3.0-or-later
"""The mesh that carries Gaussians: five blocks of vertices (avatar_nodes reads them), and attributes that say where
each sits on the head. All numbers of a Gaussian are vertices, so shape keys move every one of them linearly.
"""

from __future__ import annotations

import bpy
import numpy as np

from . import avatar_nodes
from .learned_keys import BLOCKS

_KINDS = dict.fromkeys(avatar_nodes.CORNERS, "INT") | dict.fromkeys(
    (avatar_nodes.BARYCENTRIC, avatar_nodes.TANGENT, avatar_nodes.BITANGENT), "FLOAT_VECTOR"
)


def blocks(
    positions: np.ndarray, log_scales: np.ndarray, quats: np.ndarray, opacity: np.ndarray, colors: np.ndarray
) -> np.ndarray:
    """The vertices [5N,3] of N Gaussians, or what a shape key adds to them: opacity [N] from 0 to 1, colors RGB."""
    rest = np.stack([quats[:, 0], opacity, np.zeros(len(opacity))], 1)
    return np.concatenate([positions, log_scales, quats[:, 1:], rest, colors]).astype(np.float32)


def new_mesh(name: str, vertices: np.ndarray, where: dict[str, np.ndarray]) -> bpy.types.Mesh:
    """A mesh of ``blocks``, with the attributes of its Gaussians by their names in avatar_nodes: [N], [N,3]."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", vertices.ravel())
    for attribute, values in where.items():
        _store(mesh, attribute, values)
    mesh.update()
    return mesh


def where_of(mesh: bpy.types.Mesh) -> dict[str, np.ndarray]:
    """What ``new_mesh`` took. Raises KeyError where an attribute was removed."""
    count = len(mesh.vertices) // BLOCKS
    found = {}
    for name, kind in _KINDS.items():
        width, dtype = (1, np.int32) if kind == "INT" else (3, np.float32)
        values = np.empty(len(mesh.vertices) * width, dtype)
        mesh.attributes[name].data.foreach_get(_field(kind), values)
        found[name] = values.reshape(-1, width)[:count] if width > 1 else values[:count]
    return found


def _store(mesh: bpy.types.Mesh, name: str, values: np.ndarray) -> None:
    """For the first block's vertices (the others stay zero)."""
    kind = _KINDS[name]
    attribute = mesh.attributes.new(name, kind, "POINT")
    whole = np.zeros((len(mesh.vertices), *values.shape[1:]), np.int32 if kind == "INT" else np.float32)
    whole[: len(values)] = values
    attribute.data.foreach_set(_field(kind), whole.ravel())


def _field(kind: str) -> str:
    return "vector" if kind == "FLOAT_VECTOR" else "value"
