# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene's other surfaces as one triangle mesh in the world: what hides avatars in a render."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

_SURFACES = ("MESH", "CURVE", "SURFACE", "FONT", "META")
_UNSEEN = ("VOLUME", "CURVES", "POINTCLOUD", "GREASEPENCIL", "GPENCIL")  # drawn by others, but no surfaces


@dataclass
class Mesh:
    """vertices [V,3] float32 in the world; faces [F,3] int32."""

    vertices: np.ndarray
    faces: np.ndarray

    def __len__(self) -> int:
        return len(self.faces)

    def as_arrays(self) -> dict[str, np.ndarray]:
        """By the protocol's names; {} without a face."""
        return {"occluders": self.vertices, "occluder_faces": self.faces} if len(self) else {}


def hides_avatars(item: bpy.types.Object) -> bool:
    """Whether an original object stands before or behind avatars: a surface that cameras see, and none of ours."""
    return item.type in _SURFACES and item.blendsplat.kind != "AVATAR" and item.visible_camera


def gather(depsgraph: bpy.types.Depsgraph) -> Mesh:
    """All that hides avatars in the depsgraph, instances too."""
    vertices, faces, count = [np.zeros((0, 3), np.float32)], [np.zeros((0, 3), np.int32)], 0
    for instance in depsgraph.object_instances:
        item = instance.object
        place = (instance.parent or item).original
        ours = place.blendsplat.kind == "AVATAR"  # what an artist's modifiers make of one
        if not instance.show_self or ours or not place.visible_camera or not hides_avatars(item.original):
            continue
        part = _triangles(item)
        if part is None:
            continue
        matrix = np.array(instance.matrix_world, np.float32)
        vertices.append(part[0] @ matrix[:3, :3].T + matrix[:3, 3])
        faces.append(part[1] + count)
        count += len(part[0])
    return Mesh(np.concatenate(vertices), np.concatenate(faces).astype(np.int32))


def left_out(scene: bpy.types.Scene) -> list[str]:
    """Names of visible objects that EEVEE and Cycles draw but that cannot hide an avatar."""
    return [item.name for item in scene.objects if item.type in _UNSEEN and not item.hide_render]


def _triangles(item: bpy.types.Object) -> tuple[np.ndarray, np.ndarray] | None:
    """(vertices [V,3], triangles [F,3]) of an evaluated object in its own space; None without a face."""
    try:
        mesh = item.data if item.type == "MESH" else item.to_mesh()
    except RuntimeError:  # an object without geometry
        return None
    if mesh is None or not len(mesh.polygons):
        return None
    mesh.calc_loop_triangles()
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", vertices)
    triangles = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", triangles)
    if item.type != "MESH":
        item.to_mesh_clear()
    return vertices.reshape(-1, 3), triangles.reshape(-1, 3)
