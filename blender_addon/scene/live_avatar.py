# SPDX-License-Identifier: GPL-3.0-or-later
"""What a live session has learned so far, as one object of the scene: Gaussians without head, sliders and file.

Its mesh has a vertex for each and the attributes that views draw splats by (render/gather.py). It is filled anew with
what comes; it is no avatar to be keyed, saved or rendered, and its kind says so.
"""

from __future__ import annotations

from collections.abc import Mapping

import bpy
import numpy as np

from ..space import TO_BLENDER, matrix_to_quat, quat_multiply, to_blender

NAME, KIND = "Live Avatar", "LIVE"
_FIELDS = {  # attribute: (its type, what holds its value, numbers of a value)
    "scale": ("FLOAT_VECTOR", "vector", 3), "rotation": ("QUATERNION", "value", 4), "opacity": ("FLOAT", "value", 1),
    "color": ("FLOAT_COLOR", "color", 4),
}  # fmt: skip
_WIDTHS = {"position": 3, "scale": 3, "rotation": 4, "opacity": 1, "color": 3}  # of what a session sends


def of(scene: bpy.types.Scene) -> bpy.types.Object | None:
    """The scene's live avatar."""
    return next((item for item in scene.objects if item.blendsplat.kind == KIND), None)


def show(scene: bpy.types.Scene, arrays: Mapping[str, np.ndarray]) -> bool:
    """Show the Gaussians of a live session: ``position`` [N,3], ``scale`` [N,3], ``rotation`` [N,4] wxyz, ``opacity``
    [N], ``color`` [N,3], in the engine's world. False, and nothing is touched, where they do not belong together or
    the artist is inside of the object (Edit Mode)."""
    if not _belong_together(arrays):
        return False
    item = of(scene) or _new(scene)
    if item.mode != "OBJECT":
        return False
    mesh, values = item.data, _in_blender(arrays)
    count = len(values["position"])
    if len(mesh.vertices) != count:
        mesh.clear_geometry()
        mesh.vertices.add(count)
        _join_nearest(mesh, values["position"])
    mesh.vertices.foreach_set("co", values["position"].ravel())
    for name, (kind, what, _width) in _FIELDS.items():
        attribute = mesh.attributes.get(name) or mesh.attributes.new(name, kind, "POINT")
        attribute.data.foreach_set(what, values[name].ravel())
    mesh.update()
    return True


def extent(item: bpy.types.Object) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest place [3] of a live avatar in the world, but for what has strayed."""
    places = np.empty(3 * len(item.data.vertices), np.float32)
    item.data.vertices.foreach_get("co", places)
    turned = np.array(item.matrix_world)
    low, high = np.percentile(places.reshape(-1, 3) @ turned[:3, :3].T + turned[:3, 3], (2, 98), axis=0)
    return low, high


def remove(scene: bpy.types.Scene) -> None:
    """Take live avatars out of the scene and the file."""
    for item in [item for item in scene.objects if item.blendsplat.kind == KIND]:
        mesh = item.data
        bpy.data.objects.remove(item)
        if mesh is not None and not mesh.users:
            bpy.data.meshes.remove(mesh)


def _new(scene: bpy.types.Scene) -> bpy.types.Object:
    item = bpy.data.objects.new(NAME, bpy.data.meshes.new(NAME))
    item.blendsplat.kind = KIND
    item.hide_render = True  # half learned, it is for the view alone
    item.hide_select = True  # there is nothing in it to edit
    scene.collection.objects.link(item)
    return item


def _join_nearest(mesh: bpy.types.Mesh, places: np.ndarray) -> None:
    """An edge that nobody sees: of a mesh without any, views draw every vertex as a black dot."""
    if len(places) > 1:
        mesh.edges.add(1)
        first = int(np.linalg.norm(np.diff(places, axis=0), axis=1).argmin())
        mesh.edges[0].vertices = (first, first + 1)


def _belong_together(arrays: Mapping[str, np.ndarray]) -> bool:
    if any(name not in arrays for name in _WIDTHS):
        return False
    count = len(arrays["position"])
    return count > 0 and all(arrays[name].size == count * width for name, width in _WIDTHS.items())


def _in_blender(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays in Blender's world, float32, colours with an alpha."""
    count = len(arrays["position"])
    turn = np.broadcast_to(matrix_to_quat(TO_BLENDER), (count, 4))
    values = {
        "position": to_blender(arrays["position"]), "rotation": quat_multiply(turn, arrays["rotation"]),
        "scale": arrays["scale"], "opacity": arrays["opacity"],
        "color": np.concatenate([arrays["color"], np.ones((count, 1))], 1),
    }  # fmt: skip
    return {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}
