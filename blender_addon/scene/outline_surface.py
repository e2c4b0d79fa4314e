# SPDX-License-Identifier: GPL-3.0-or-later
"""What of an avatar a click in the viewport selects, and what is outlined when it is selected: the head's surface, in a
material that nothing shows. Gaussians have no faces, so without it an avatar could be selected in the outliner only.

It is an instance beside the Gaussians, which stay the mesh's vertices, and in the viewport alone: renders have none.
"""

from __future__ import annotations

import bpy

from .node_tools import Tree

_MATERIAL = "Blendsplat Outline"
_UNSEEN = (1.0, 1.0, 1.0, 0.0)


def surface(t: Tree, head: bpy.types.NodeSocket, wanted: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """The instance, where it is wanted."""
    seen = t.node("FunctionNodeBooleanMath", {0: wanted, 1: t.node("GeometryNodeIsViewport").outputs[0]}).outputs[0]
    switch = t.node("GeometryNodeSwitch", input_type="GEOMETRY")
    t.put(t.socket(switch.inputs, "Switch"), seen)
    clear = t.node("GeometryNodeSetMaterial", {"Geometry": head, "Material": material()}).outputs[0]
    t.put(t.socket(switch.inputs, "True"), t.node("GeometryNodeGeometryToInstance", {0: clear}).outputs[0])
    return t.out(switch, "Output")


def hide(carrier: bpy.types.Object) -> None:
    """From Solid shading in objects' colours, unless an artist gave the avatar one."""
    if tuple(carrier.color) == (1.0, 1.0, 1.0, 1.0):
        carrier.color = _UNSEEN


def material() -> bpy.types.Material:
    """Nothing but transparent, in every shading that shows materials."""
    found = bpy.data.materials.get(_MATERIAL)
    if found is not None:
        return found
    found = bpy.data.materials.new(_MATERIAL)
    if found.node_tree is None:  # from 5.0 on every material has nodes
        found.use_nodes = True
    found.diffuse_color = _UNSEEN
    found.surface_render_method = "BLENDED"
    found.node_tree.nodes.clear()
    tree = Tree(found.node_tree)
    tree.node("ShaderNodeOutputMaterial", {0: tree.node("ShaderNodeBsdfTransparent").outputs[0]})
    return found
