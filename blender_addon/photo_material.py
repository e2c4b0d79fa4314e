# SPDX-License-Identifier: GPL-3.0-or-later
"""A head's photographs as its skin: UV layers that project them, how well each camera saw the skin, and a material.

What no photograph shows comes from the engine's texture, else from the skin's colour. All of it is ordinary mesh data
and nodes, so the skin keeps its texture when sliders move, and a .blend needs neither engine nor add-on.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import bpy
import numpy as np

from .node_tools import Tree

MOST = 6  # photographs in one material; a mesh has room for eight UV layers
_GROUP, _TEXTURE, _ELSEWHERE = "Photographs", "Texture", "Elsewhere"
_LIGHT = "Scene Light"  # 0: lit as in the photograph; 1: by the scene's lights


def load_image(path: Path, name: str) -> bpy.types.Image:
    """The picture, read again from disk when the file has it already (it may have been made anew)."""
    wanted = str(path)
    for image in bpy.data.images:
        if image.source == "FILE" and image.library is None and bpy.path.abspath(image.filepath) == wanted:
            image.reload()
            return image
    image = bpy.data.images.load(wanted)
    image.name = name
    return image


def project(head: bpy.types.Object, number: int, image: bpy.types.Image, uvs: np.ndarray, seen: np.ndarray) -> None:
    """Photograph ``number`` (from 1) as a UV layer (uvs [V,2]) and the attribute how well it shows a vertex (seen [V]).

    Material nodes that an artist made around the group "Photographs" stay.
    """
    if number > MOST:
        return
    mesh = head.data
    layer = mesh.uv_layers.get(layer_name(number)) or mesh.uv_layers.new(name=layer_name(number), do_init=False)
    loops = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", loops)
    layer.data.foreach_set("uv", uvs[loops].astype(np.float32).ravel())
    attribute = mesh.attributes.get(seen_name(number)) or mesh.attributes.new(seen_name(number), "FLOAT", "POINT")
    attribute.data.foreach_set("value", seen.astype(np.float32))
    mesh.update()
    material = mesh.materials[0] if len(mesh.materials) else None
    if material is None:
        return
    group = _group_of(material)
    if group is None:
        group = _build_material(material)
    images = {int(node.name.split()[-1]): node.image for node in group.nodes if node.bl_idname == "ShaderNodeTexImage"}
    _build_group(group, {**images, number: image})


def set_elsewhere(head: bpy.types.Object, texture: bpy.types.Image | None, color: np.ndarray) -> None:
    """What shows where no photograph does: the engine's texture (in the head's own UVs), else a colour (linear RGB)."""
    material = head.data.materials[0] if len(head.data.materials) else None
    group = _group_of(material) if material is not None else None
    if material is None or group is None:
        return
    material.diffuse_color = (*color.tolist(), 1.0)
    for node in material.node_tree.nodes:
        if node.bl_idname == "ShaderNodeGroup" and node.node_tree == group:
            node.inputs[_ELSEWHERE].default_value = (*color.tolist(), 1.0)
    node = material.node_tree.nodes.get(_TEXTURE)
    if texture is not None and node is None:
        node = _add_texture(material, group)
    if node is not None and texture is not None:
        node.image = texture


def skin_color(image: bpy.types.Image, uvs: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The usual colour [3] (scene-linear) of what the photograph shows well."""
    width, height = image.size
    if not width or not height or not (seen > 0.9).any():
        return np.array([0.62, 0.46, 0.38])
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(height, width, image.channels)
    x, y = np.clip(uvs[seen > 0.9] * [width, height], 0, [width - 1, height - 1]).astype(int).T
    color = np.median(pixels[y, x, :3], axis=0)
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def layer_name(number: int) -> str:
    """The UV layer that projects photograph ``number``."""
    return f"Photograph {number}"


def seen_name(number: int) -> str:
    """The attribute that says how well photograph ``number`` shows a vertex."""
    return f"seen {number}"


def _group_of(material: bpy.types.Material) -> bpy.types.ShaderNodeTree | None:
    for node in material.node_tree.nodes if material.node_tree else ():
        if node.bl_idname == "ShaderNodeGroup" and node.node_tree and node.node_tree.get("blendsplat_photographs"):
            return node.node_tree
    return None


def _build_material(material: bpy.types.Material) -> bpy.types.ShaderNodeTree:
    """The photographs' colour as its own light, mixed with a surface that the scene lights."""
    group = bpy.data.node_groups.new(f"{material.name} {_GROUP}", "ShaderNodeTree")
    group["blendsplat_photographs"] = True
    group.interface.new_socket("Color", in_out="OUTPUT", socket_type="NodeSocketColor")
    group.interface.new_socket(_ELSEWHERE, in_out="INPUT", socket_type="NodeSocketColor")
    material.node_tree.nodes.clear()
    tree = Tree(material.node_tree)
    photographs = tree.node("ShaderNodeGroup", node_tree=group, name=_GROUP)
    color = photographs.outputs[0]
    light = tree.node("ShaderNodeValue", name=_LIGHT, label=_LIGHT)
    light.outputs[0].default_value = 0.0
    baked = tree.node("ShaderNodeEmission", {0: color})
    surface = tree.node("ShaderNodeBsdfPrincipled", {"Base Color": color, "Roughness": 0.55})
    with contextlib.suppress(KeyError):
        surface.inputs["Specular IOR Level"].default_value = 0.25
    mixed = tree.node("ShaderNodeMixShader", {0: light.outputs[0], 1: baked.outputs[0], 2: surface.outputs[0]})
    tree.node("ShaderNodeOutputMaterial", {0: mixed.outputs[0]})
    return group


def _add_texture(material: bpy.types.Material, group: bpy.types.ShaderNodeTree) -> bpy.types.Node:
    """The texture's node; active, which makes it what Workbench and texture painting show."""
    tree = Tree(material.node_tree)
    uv = tree.node("ShaderNodeUVMap", uv_map="UVMap")
    node = tree.node("ShaderNodeTexImage", {0: uv.outputs[0]}, name=_TEXTURE, label=_TEXTURE)
    for user in material.node_tree.nodes:
        if user.bl_idname == "ShaderNodeGroup" and user.node_tree == group:
            tree.put(user.inputs[_ELSEWHERE], node.outputs[0])
    material.node_tree.nodes.active = node
    return node


def _build_group(group: bpy.types.ShaderNodeTree, images: dict[int, bpy.types.Image]) -> None:
    """Color = the photographs' mean, weighed by how well each shows the place; Elsewhere where none does."""
    group.nodes.clear()
    tree = Tree(group)
    entry = tree.node("NodeGroupInput")
    parts, weights = [], []
    for number in sorted(images):
        uv = tree.node("ShaderNodeUVMap", uv_map=layer_name(number))
        name = layer_name(number)
        picture = tree.node("ShaderNodeTexImage", {0: uv.outputs[0]}, name=name, label=name, extension="EXTEND")
        picture.image = images[number]
        weight = tree.node("ShaderNodeAttribute", attribute_name=seen_name(number)).outputs["Fac"]
        parts.append((picture.outputs[0], weight))
        weights.append(weight)
    total = weights[0]
    for weight in weights[1:]:
        total = tree.math("ADD", total, weight)
    mean = tree.scaled(tree.sum_scaled(parts), tree.math("DIVIDE", 1.0, tree.math("MAXIMUM", total, 1e-4)))
    mix = tree.node("ShaderNodeMix", data_type="RGBA", clamp_factor=True)
    for socket, value in ((0, total), (6, entry.outputs[0]), (7, mean)):
        tree.put(mix.inputs[socket], value)
    tree.node("NodeGroupOutput", {0: mix.outputs[2]})
