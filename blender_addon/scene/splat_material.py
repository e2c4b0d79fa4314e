# SPDX-License-Identifier: GPL-3.0-or-later
"""The materials of splats that are geometry: soft quads or solid ellipsoids, glowing in the video's colours or lit."""

from __future__ import annotations

from typing import Any

import bpy

from . import splat_nodes
from .node_tools import Tree

_VERSION, VERSION = "blendsplat_splat_material", 1
ALPHA_MAX = 0.99  # the rasterizer's


def splat_material(ellipsoids: bool, lit: bool) -> bpy.types.Material:
    """The shared material, made when it is missing or from an older version. An artist's copy is his own."""
    name = f"Splat {'Ellipsoids' if ellipsoids else 'Quads'} {'Lit' if lit else 'Unlit'}"
    kind = f"{name} {VERSION}"
    for material in bpy.data.materials:
        if material.get(_VERSION) == kind and material.library is None:
            return material
    material = bpy.data.materials.new(name)
    material[_VERSION] = kind
    if material.node_tree is None:  # from 5.0 on every material has nodes
        material.use_nodes = True
    material.node_tree.nodes.clear()
    material.diffuse_color = (0.8, 0.6, 0.5, 1.0)
    material.surface_render_method = "DITHERED" if ellipsoids else "BLENDED"
    material.use_transparency_overlap = True  # all of a mesh's faces are blended, not its nearest only
    tree = Tree(material.node_tree)
    surface = _surface(tree, lit)
    if not ellipsoids:
        surface = _soft(tree, surface)
    tree.node("ShaderNodeOutputMaterial", {0: surface})
    return material


def _surface(t: Tree, lit: bool) -> bpy.types.NodeSocket:
    color = t.node("ShaderNodeAttribute", attribute_name=splat_nodes.COLOR).outputs["Color"]
    if not lit:
        return t.node("ShaderNodeEmission", {0: color}).outputs[0]
    own = t.node("ShaderNodeAttribute", attribute_name=splat_nodes.NORMAL).outputs["Vector"]
    normal = t.node(
        "ShaderNodeVectorTransform", {0: own}, vector_type="NORMAL", convert_from="OBJECT", convert_to="WORLD"
    ).outputs[0]
    skin = {"Base Color": color, "Roughness": 0.6, "Specular IOR Level": 0.3, "Normal": normal}
    return t.node("ShaderNodeBsdfPrincipled", skin).outputs[0]


def _soft(t: Tree, surface: Any) -> bpy.types.NodeSocket:
    """The surface with the rasterizer's alpha: opacity * exp(-r^2 / 2), at most 0.99, nothing below 1/255."""
    place = t.node("ShaderNodeAttribute", attribute_name=splat_nodes.PLACE).outputs["Vector"]
    opacity = t.node("ShaderNodeAttribute", attribute_name=splat_nodes.OPACITY).outputs["Fac"]
    square = t.node("ShaderNodeVectorMath", {0: place, 1: place}, operation="DOT_PRODUCT").outputs["Value"]
    alpha = t.math("MULTIPLY", opacity, t.math("EXPONENT", t.math("MULTIPLY", square, -0.5)))
    alpha = t.math("MINIMUM", alpha, ALPHA_MAX)
    alpha = t.math("MULTIPLY", alpha, t.math("GREATER_THAN", alpha, splat_nodes.ALPHA_MIN))
    clear = t.node("ShaderNodeBsdfTransparent").outputs[0]
    return t.node("ShaderNodeMixShader", {0: alpha, 1: clear, 2: surface}).outputs[0]
