# SPDX-License-Identifier: GPL-3.0-or-later
"""An avatar file as a Blender object: a carrier mesh whose learned Gaussian blendshapes are real shape keys.

Keyframes, drivers, NLA, mute, solo and undo work because they are Blender's own; a .blend with baked keys plays without
the engine and without this add-on.
"""

from __future__ import annotations

import contextlib

import bpy
import numpy as np

from ..formats import AvatarFile, Performance
from . import avatar_nodes, head_rig, keyframes
from .weight_network import Driver, HeadState

_CUSTOM = "blendsplat_data"
_SH0 = 0.28209479177387814
_MODIFIER = "Gaussians"


def build_avatar(context: bpy.types.Context, avatar: AvatarFile, name: str) -> bpy.types.Object:
    """Add an avatar (and its head, unless the scene has that person's already); returns the carrier object."""
    head = head_rig.find_head(context.scene, avatar.rig) or head_rig.build_head(context, avatar.rig, name)
    mesh = _carrier_mesh(avatar, name)
    carrier = bpy.data.objects.new(name, mesh)
    (head.users_collection[0] if head.users_collection else context.scene.collection).objects.link(carrier)
    carrier.parent = head.parent
    carrier.matrix_parent_inverse.identity()
    _add_blendshapes(carrier, avatar)
    mesh[_CUSTOM] = Driver.of(avatar).pack()
    carrier.blendsplat.kind = "AVATAR"
    carrier.blendsplat.head = head
    carrier.blendsplat.avatar_path = str(avatar.path)
    _add_nodes(carrier, head)
    context.view_layer.update()  # from 5.0 on a new object is not in the view layer before
    with contextlib.suppress(RuntimeError):  # in a collection that this view layer excludes
        head.hide_set(True)  # it would cover the avatar; hidden, it still moves it
    return carrier


def find_avatar(scene: bpy.types.Scene, avatar: AvatarFile) -> bpy.types.Object | None:
    """The scene's avatar from the same file (trained further since), if its head still fits."""
    wanted = head_rig.rig_id(avatar.rig)
    for item in scene.objects:
        head = item.blendsplat.head
        same_file = item.blendsplat.kind == "AVATAR" and item.blendsplat.avatar_path == str(avatar.path)
        whole = same_file and head is not None and item.data.shape_keys is not None and item.data.users == 1
        if whole and head.blendsplat.rig_id == wanted:
            return item
    return None


def replace_avatar(carrier: bpy.types.Object, avatar: AvatarFile) -> bpy.types.Object:
    """Give an avatar its file's present content; object, modifier, keyframes and drivers stay."""
    old, name = carrier.data, carrier.data.name
    mesh = _carrier_mesh(avatar, name)
    holder = bpy.data.objects.new(name, mesh)
    _add_blendshapes(holder, avatar)
    mesh[_CUSTOM] = Driver.of(avatar).pack()
    mesh.materials.append(avatar_nodes.preview_material())
    keyframes.hand_over(old.shape_keys, mesh.shape_keys)
    carrier.data = mesh
    bpy.data.objects.remove(holder)
    bpy.data.meshes.remove(old)
    mesh.name = name
    forget_drivers()
    return carrier


def apply_performance(carrier: bpy.types.Object, performance: Performance, start: float, fps: float) -> int:
    """Bake a tracked performance through the learned network as keyframes; returns the number of frames keyed."""
    rows = performance.valid_rows
    weights = driver_of(carrier).weights(HeadState.of(performance))[rows]
    frames = start + performance.timestamps[rows] * fps
    curves = [
        keyframes.Curve(f'key_blocks["{key.name}"].value', 0, frames, weights[:, index])
        for index, key in enumerate(blendshape_keys(carrier))
    ]
    keyframes.write(carrier.data.shape_keys, curves, f"{carrier.name} performance")
    return len(frames)


def update_from_head(carrier: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> bool:
    """Set the blendshapes to what the head does now; True when a value changed."""
    head = carrier.blendsplat.head
    if head is None or head.data is None or head.data.shape_keys is None:
        return False
    weights = driver_of(carrier).weights(head_rig.head_state(head, depsgraph))[0]
    changed = False
    for key, weight in zip(blendshape_keys(carrier), weights, strict=False):
        if abs(key.value - weight) > 1e-5:
            key.value = float(weight)
            changed = True
    return changed


def blendshape_keys(carrier: bpy.types.Object) -> list[bpy.types.ShapeKey]:
    """The learned keys in the network's order (an artist may add keys of their own after them)."""
    blocks = carrier.data.shape_keys.key_blocks
    found = []
    while (key := blocks.get(_key_name(len(found)))) is not None:
        found.append(key)
    return found


_drivers: dict[tuple[int, int], Driver] = {}


def driver_of(carrier: bpy.types.Object) -> Driver:
    """The avatar's network, unpacked once per mesh. Raises KeyError or ValueError when the object is no avatar."""
    mesh = carrier.data
    identity = (mesh.as_pointer(), len(mesh.vertices))
    if identity not in _drivers:
        if len(_drivers) > 64:
            _drivers.clear()
        _drivers[identity] = Driver.unpack(mesh[_CUSTOM])
    return _drivers[identity]


def forget_drivers() -> None:
    """Called when another file is loaded: addresses are used again."""
    _drivers.clear()


def _key_name(index: int) -> str:
    return f"Blendshape {index + 1:02d}"


def _blocks(
    positions: np.ndarray, log_scales: np.ndarray, quats: np.ndarray, opacity: np.ndarray, colors: np.ndarray
) -> np.ndarray:
    """The five blocks of vertices [5N,3]."""
    rest = np.stack([quats[:, 0], opacity, np.zeros(len(opacity))], 1)
    return np.concatenate([positions, log_scales, quats[:, 1:], rest, colors]).astype(np.float32)


def _carrier_mesh(avatar: AvatarFile, name: str) -> bpy.types.Mesh:
    a, count = avatar.arrays, avatar.gaussians
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(5 * count)
    opacity = 1 / (1 + np.exp(-a["opacity_logits"].astype(float)))
    base = _blocks(a["positions"], a["log_scales"], a["quats"], opacity, _SH0 * a["colors"] + 0.5)
    mesh.vertices.foreach_set("co", base.ravel())
    faces = avatar.rig.faces[a["triangle"]]
    for corner, attribute in enumerate(avatar_nodes.CORNERS):
        _attribute(mesh, attribute, "INT", faces[:, corner].astype(np.int32))
    tangent, bitangent = tangent_weights(avatar)
    _attribute(mesh, avatar_nodes.BARYCENTRIC, "FLOAT_VECTOR", a["barycentrics"].astype(np.float32))
    _attribute(mesh, avatar_nodes.TANGENT, "FLOAT_VECTOR", tangent)
    _attribute(mesh, avatar_nodes.BITANGENT, "FLOAT_VECTOR", bitangent)
    mesh.update()
    return mesh


def tangent_weights(avatar: AvatarFile) -> tuple[np.ndarray, np.ndarray]:
    """What e1 and e2 are multiplied with for the (unnormalised) tangent and bitangent: [N,3] each, third column 0.

    (d2.y, -d1.y) / det and (-d2.x, d1.x) / det, divided by their own length: only their direction matters.
    """
    corners = avatar.rig.uvs[avatar.rig.uv_faces[avatar.arrays["triangle"]]].astype(float)
    d1, d2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    sign = np.where(d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1] < 0, -1.0, 1.0)[:, None]

    def unit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        weights = np.stack([x, y], 1) * sign
        weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
        return np.concatenate([weights, np.zeros((len(weights), 1))], 1).astype(np.float32)

    return unit(d2[:, 1], -d1[:, 1]), unit(-d2[:, 0], d1[:, 0])


def _attribute(mesh: bpy.types.Mesh, name: str, kind: str, values: np.ndarray) -> None:
    """Store values for the first block's vertices (the others stay zero)."""
    attribute = mesh.attributes.new(name, kind, "POINT")
    whole = np.zeros((len(mesh.vertices), *values.shape[1:]), dtype=values.dtype)
    whole[: len(values)] = values
    attribute.data.foreach_set("vector" if kind == "FLOAT_VECTOR" else "value", whole.ravel())


def _add_blendshapes(carrier: bpy.types.Object, avatar: AvatarFile) -> None:
    a, count = avatar.arrays, avatar.gaussians
    base = np.empty(15 * count, dtype=np.float32)
    carrier.data.vertices.foreach_get("co", base)
    carrier.shape_key_add(name="Basis", from_mix=False)
    zero3, zero1 = np.zeros((count, 3)), np.zeros(count)
    for index in range(avatar.blendshapes):
        deltas = _blocks(
            a["delta_positions"][index], zero3, a["delta_quats"][index], zero1, _SH0 * a["delta_colors"][index]
        )
        key = carrier.shape_key_add(name=_key_name(index), from_mix=False)
        key.slider_min, key.slider_max = -10.0, 10.0
        key.value = 0.0  # Blender 5.0 and later start at 1
        key.data.foreach_set("co", base + deltas.ravel())
    carrier.active_shape_key_index = 1


def _add_nodes(carrier: bpy.types.Object, head: bpy.types.Object) -> None:
    material = avatar_nodes.preview_material()
    carrier.data.materials.append(material)
    modifier = carrier.modifiers.new(_MODIFIER, "NODES")
    modifier.node_group = avatar_nodes.avatar_group()
    avatar_nodes.set_input(modifier, avatar_nodes.INPUT_HEAD, head)
    avatar_nodes.set_input(modifier, avatar_nodes.INPUT_MATERIAL, material)
    modifier.show_expanded = True
