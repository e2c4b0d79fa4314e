# SPDX-License-Identifier: GPL-3.0-or-later
"""A head's photographs as its skin: UV layers that project them, how well each camera saw the skin, and a material.

What no photograph shows comes from the engine's texture, else from the skin's colour. All of it is ordinary mesh data
and nodes, so the skin keeps its texture when sliders move, and a .blend needs neither engine nor add-on.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from ..paths import kept
from . import head_rig
from .node_tools import Tree

MOST = 6  # photographs in one material; a mesh has room for eight UV layers
_GROUP, _TEXTURE, _ELSEWHERE = "Photographs", "Texture", "Elsewhere"
_LITTLE = 0.02  # what a texture counts where its photograph shows nothing
_LIGHT = "Scene Light"  # 0: lit as in the photograph; 1: by the scene's lights


def load_image(path: Path, name: str) -> bpy.types.Image:
    """The picture; one that is here already is read again (it may have been made anew), unless it was painted on."""
    wanted = str(path)
    for image in bpy.data.images:
        if image.source == "FILE" and image.library is None and bpy.path.abspath(image.filepath) == wanted:
            if not image.is_dirty:
                image.reload()
            return image
    image = bpy.data.images.load(wanted)
    image.name, image.filepath = name, kept(path)
    return image


@dataclass
class Projection:
    """Photograph ``number`` (from 1) on a head: its picture, the texture that the engine made of it, where vertices lie
    in the picture (uvs [V,2]), how well it shows them (seen [V]) and how far they are turned to it (turned [V])."""

    number: int
    image: bpy.types.Image
    texture: bpy.types.Image | None
    uvs: np.ndarray
    seen: np.ndarray
    turned: np.ndarray


def project(head: bpy.types.Object, shown: Projection) -> None:
    """Put a photograph on the skin. A material of the artist's own stays as it is, and so do nodes that an artist made
    around the group "Photographs"."""
    mesh = head.data
    material = mesh.materials[0] if len(mesh.materials) else None
    if shown.number > MOST or material is None:
        return
    name = layer_name(shown.number)
    layer = mesh.uv_layers.get(name) or mesh.uv_layers.new(name=name, do_init=False)
    loops = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", loops)
    layer.data.foreach_set("uv", shown.uvs[loops].astype(np.float32).ravel())
    for name, values in ((seen_name(shown.number), shown.seen), (turned_name(shown.number), shown.turned)):
        attribute = mesh.attributes.get(name) or mesh.attributes.new(name, "FLOAT", "POINT")
        attribute.data.foreach_set("value", values.astype(np.float32))
    mesh.update()
    group, fresh = _group_of(material), material.get(head_rig.PLAIN_SKIN, False)
    if group is None and not fresh:
        return
    group = group or _build_material(material)
    images = {node.name: node.image for node in group.nodes if node.bl_idname == "ShaderNodeTexImage"}
    images[layer_name(shown.number)] = shown.image
    if shown.texture is not None and shown.number > 1:
        images[_texture_name(shown.number)] = shown.texture
    _build_group(group, images)
    if fresh:
        _set_elsewhere(material, group, shown.texture, skin_color(shown.image, shown.uvs, shown.seen))
        del material[head_rig.PLAIN_SKIN]


def _set_elsewhere(
    material: bpy.types.Material, group: bpy.types.ShaderNodeTree, texture: bpy.types.Image | None, color: np.ndarray
) -> None:
    """What shows where no photograph does: the first one's texture (in the head's own UVs), else a colour (linear).

    The texture's node is the active one, which makes it what Workbench and texture painting show.
    """
    material.diffuse_color = (*color.tolist(), 1.0)
    socket = material.node_tree.nodes[_GROUP].inputs[_ELSEWHERE]
    socket.default_value = (*color.tolist(), 1.0)
    if texture is not None:
        tree = Tree(material.node_tree)
        uv = tree.node("ShaderNodeUVMap", uv_map="UVMap")
        node = tree.node("ShaderNodeTexImage", {0: uv.outputs[0]}, name=_TEXTURE, label=_TEXTURE, image=texture)
        tree.put(socket, node.outputs[0])
        material.node_tree.nodes.active = node


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


def turned_name(number: int) -> str:
    """The attribute that says how far a vertex is turned to photograph ``number``, hidden or not."""
    return f"turned {number}"


def _texture_name(number: int) -> str:
    return f"{_TEXTURE} {number}"


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


def _build_group(group: bpy.types.ShaderNodeTree, images: dict[str, bpy.types.Image]) -> None:
    """Color = the photographs' mean, weighed by how well each shows the place; where none does, the mean of Elsewhere
    and the further photographs' textures, weighed by how far the place is turned to each."""
    group.nodes.clear()
    tree = Tree(group)
    entry = tree.node("NodeGroupInput")
    photographs, textures = [], []
    for number in range(1, MOST + 1):
        if (image := images.get(layer_name(number))) is not None:
            picture = _picture(tree, layer_name(number), image, layer_name(number))
            photographs.append((picture, _vertex_value(tree, seen_name(number))))
        texture = images.get(_texture_name(number))
        if number == 1 or texture is not None:
            color = entry.outputs[0] if texture is None else _picture(tree, _texture_name(number), texture, "UVMap")
            textures.append((color, tree.math("ADD", _vertex_value(tree, turned_name(number)), _LITTLE)))
    mean, total = _mean(tree, photographs)
    elsewhere = entry.outputs[0] if len(textures) == 1 else _mean(tree, textures)[0]
    mix = tree.node("ShaderNodeMix", data_type="RGBA", clamp_factor=True)
    for socket, value in ((0, total), (6, elsewhere), (7, mean)):
        tree.put(mix.inputs[socket], value)
    tree.node("NodeGroupOutput", {0: mix.outputs[2]})


def _picture(tree: Tree, name: str, image: bpy.types.Image, layer: str) -> bpy.types.NodeSocket:
    uv = tree.node("ShaderNodeUVMap", uv_map=layer)
    node = tree.node("ShaderNodeTexImage", {0: uv.outputs[0]}, name=name, label=name, extension="EXTEND", image=image)
    return node.outputs[0]


def _vertex_value(tree: Tree, name: str) -> bpy.types.NodeSocket:
    return tree.node("ShaderNodeAttribute", attribute_name=name).outputs["Fac"]


def _mean(
    tree: Tree, parts: list[tuple[bpy.types.NodeSocket, bpy.types.NodeSocket]]
) -> tuple[bpy.types.NodeSocket, bpy.types.NodeSocket]:
    """The weighted mean of (colour, weight), and the weights' sum."""
    total = parts[0][1]
    for _, weight in parts[1:]:
        total = tree.math("ADD", total, weight)
    mean = tree.scaled(tree.sum_scaled(parts), tree.math("DIVIDE", 1.0, tree.math("MAXIMUM", total, 1e-4)))
    return mean, total
