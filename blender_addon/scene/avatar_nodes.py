# SPDX-License-Identifier: GPL-3.0-or-later
"""The Geometry Nodes that turn a carrier mesh and a moving head into Gaussians (docs/formats.md, "Tangent frame").

Out come N vertices with the attributes scale, rotation, opacity and color (what the render engine reads) and, where
they are wanted, the same as a point cloud. Two vertices have an edge, near ones as it is drawn: of a mesh without any,
Blender's viewport draws every vertex as a black dot.

The head is read in its own space, so that the Gaussians stand where the carrier stands: a moved, turned, scaled or
duplicated carrier is where it shows. Frames are made once for every triangle that carries Gaussians, not for each of
the Gaussians on it: frames are the dearest of it all.
"""

from __future__ import annotations

import bpy

from . import carrier_fields, carrier_mesh
from .carrier_mesh import COMPACT, FULL, Layout
from .node_tools import Tree

GROUP = "Blendsplat Avatar"
VERSION = 3
_OWN_PLACE = 3  # since this version Gaussians stand where the carrier stands
_LAYOUT = "blendsplat_layout"
INPUT_HEAD, INPUT_PREVIEW, INPUT_SIZE, INPUT_MATERIAL = "Head", "Show Points", "Point Size", "Material"


def avatar_group(layout: Layout) -> bpy.types.GeometryNodeTree:
    """The shared node group for carriers of this layout, built when it is missing or from an older version."""
    for tree in bpy.data.node_groups:
        if tree.library is None and tree.bl_idname == "GeometryNodeTree" and not outdated(tree, layout):
            return tree
    tree = bpy.data.node_groups.new(GROUP if layout == COMPACT else f"{GROUP} ({layout.name})", "GeometryNodeTree")
    tree["blendsplat_version"], tree[_LAYOUT] = VERSION, layout.name
    tree.is_modifier = True
    _interface(tree)
    _build(Tree(tree), layout)
    return tree


def outdated(tree: bpy.types.GeometryNodeTree, layout: Layout) -> bool:
    """Whether it is another than ``avatar_group(layout)`` or an artist's copy of that."""
    return tree.get("blendsplat_version") != VERSION or tree.get(_LAYOUT) != layout.name


def reads(tree: bpy.types.GeometryNodeTree, layout: Layout) -> bool:
    """Whether a node group of ours, of whatever version, understands carriers of this layout."""
    return tree.get(_LAYOUT, FULL.name) == layout.name


def follows_heads_place(tree: bpy.types.NodeTree | None) -> bool:
    """Whether it is of a version that puts the Gaussians where the head is, wherever the carrier is."""
    return is_ours(tree) and tree.get("blendsplat_version", 0) < _OWN_PLACE


def input_identifier(tree: bpy.types.NodeTree, name: str) -> str:
    """What Blender calls the group input ``name``."""
    return next(
        item.identifier
        for item in tree.interface.items_tree
        if item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name
    )


def set_input(modifier: bpy.types.NodesModifier, name: str, value: object) -> None:
    """Set the modifier's input that belongs to the group input ``name``."""
    identifier = input_identifier(modifier.node_group, name)
    if hasattr(modifier, "properties"):  # 5.2 and later
        getattr(modifier.properties.inputs, identifier).value = value
    else:
        modifier[identifier] = value


def input_of(modifier: bpy.types.NodesModifier, name: str) -> object:
    """The value of the modifier's input that belongs to the group input ``name``; None: it has none."""
    identifier = input_identifier(modifier.node_group, name)
    if hasattr(modifier, "properties"):  # 5.2 and later
        return getattr(modifier.properties.inputs, identifier).value
    return modifier.get(identifier)


def is_ours(tree: bpy.types.NodeTree | None) -> bool:
    """Whether it is a node group that makes Gaussians of a carrier, of whatever version, or an artist's copy of it."""
    return tree is not None and "blendsplat_version" in tree


def preview_material() -> bpy.types.Material:
    """Flat colour from the attribute ``color``: display colours turned into light, so that "Standard" shows them."""
    material = bpy.data.materials.get(GROUP)
    if material is not None:
        return material
    material = bpy.data.materials.new(GROUP)
    if material.node_tree is None:  # from 5.0 on every material has nodes
        material.use_nodes = True
    material.diffuse_color = (0.8, 0.6, 0.5, 1.0)
    material.node_tree.nodes.clear()
    tree = Tree(material.node_tree)
    color = tree.node("ShaderNodeAttribute", attribute_name="color")
    gamma = tree.node("ShaderNodeGamma", {0: color.outputs["Color"], 1: 2.2})
    emission = tree.node("ShaderNodeEmission", {0: gamma.outputs[0]})
    tree.node("ShaderNodeOutputMaterial", {0: emission.outputs[0]})
    return material


def _interface(tree: bpy.types.GeometryNodeTree) -> None:
    new = tree.interface.new_socket
    new("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    new("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    new(
        INPUT_HEAD, in_out="INPUT", socket_type="NodeSocketObject"
    ).description = "The head whose triangles carry the Gaussians"
    show = new(INPUT_PREVIEW, in_out="INPUT", socket_type="NodeSocketBool")
    show.default_value, show.description = False, "Draw the Gaussians as solid points in the viewport"
    size = new(INPUT_SIZE, in_out="INPUT", socket_type="NodeSocketFloat")
    size.default_value, size.min_value, size.max_value = 1.0, 0.0, 10.0
    size.description = "Size of the viewport's points relative to the Gaussians"
    new(INPUT_MATERIAL, in_out="INPUT", socket_type="NodeSocketMaterial").description = "How the viewport's points look"


def _build(t: Tree, layout: Layout) -> None:
    entry = t.node("NodeGroupInput")
    carrier = entry.outputs["Geometry"]
    info = t.node("GeometryNodeObjectInfo", {"Object": entry.outputs[INPUT_HEAD]}, transform_space="ORIGINAL")
    reader = carrier_fields.reader(t, carrier, layout)
    triangles = _triangles(t, reader, t.out(info, "Geometry"))
    row = reader.row()

    def of_triangle(name: str, data_type: str = "FLOAT_VECTOR"):
        return t.sample(triangles, t.attribute(name, data_type), row, data_type)

    local = t.xyz(reader.position())
    along = zip((_E1, _E2, _TANGENT, _BITANGENT, _NORMAL), (*reader.inside(), *local), strict=True)
    where = t.vector("ADD", of_triangle("position"), t.sum_scaled([(of_triangle(name), part) for name, part in along]))
    line = t.node("GeometryNodeMeshLine", {"Count": reader.count}).outputs[0]
    surplus = t.math("SUBTRACT", 1.0, t.math("COMPARE", reader.index, reader.link(), 0.5))
    one_edge = t.node("GeometryNodeDeleteGeometry", {0: line, 1: surplus}, domain="EDGE", mode="EDGE_FACE").outputs[0]
    vertices = t.node("GeometryNodeSetPosition", {"Geometry": one_edge, "Position": where}).outputs[0]
    w, xyz = reader.quaternion()
    quat = t.node("FunctionNodeQuaternionToRotation", {"W": w, **dict(zip("XYZ", xyz, strict=True))}).outputs[0]
    frame = of_triangle(_FRAME, "QUATERNION")
    rotation = t.node("FunctionNodeRotateRotation", {0: frame, 1: quat}, rotation_space="LOCAL").outputs[0]
    color = t.vector("MAXIMUM", reader.color(), (0.0, 0.0, 0.0))
    stored = t.store(vertices, "scale", reader.scale(), "FLOAT_VECTOR")
    stored = t.store(stored, "rotation", rotation, "QUATERNION")
    stored = t.store(stored, "opacity", reader.opacity(), "FLOAT")
    stored = t.store(stored, "color", color, "FLOAT_COLOR")
    _output(t, entry, stored)


_E1, _E2, _TANGENT, _BITANGENT, _NORMAL, _FRAME = "e1", "e2", "tangent", "bitangent", "normal", "frame"


def _triangles(t: Tree, reader: carrier_fields.Reader, head: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """A vertex for every row of the table of triangles, at the first corner, with what its Gaussians need of it."""
    corners = [
        t.sample(head, reader.points, reader.constant(name, "INT"), "FLOAT_VECTOR") for name in carrier_mesh.CORNERS
    ]
    tangents, bitangents = reader.tangents()

    def vector(name: str) -> bpy.types.NodeSocket:
        return t.attribute(name, "FLOAT_VECTOR")

    def direction(weights: tuple[bpy.types.NodeSocket, bpy.types.NodeSocket]) -> bpy.types.NodeSocket:
        return t.vector("NORMALIZE", t.sum_scaled(list(zip((vector(_E1), vector(_E2)), weights, strict=True))))

    rows = t.node("GeometryNodeMeshLine", {"Count": reader.rows()}).outputs[0]
    rows = t.node("GeometryNodeSetPosition", {"Geometry": rows, "Position": corners[0]}).outputs[0]
    for name, corner in ((_E1, corners[1]), (_E2, corners[2])):
        rows = t.store(rows, name, t.vector("SUBTRACT", corner, reader.points), "FLOAT_VECTOR")
    rows = t.store(rows, _TANGENT, direction(tangents), "FLOAT_VECTOR")
    rows = t.store(rows, _BITANGENT, direction(bitangents), "FLOAT_VECTOR")
    normal = t.vector("NORMALIZE", t.vector("CROSS_PRODUCT", vector(_E1), vector(_E2)))
    rows = t.store(rows, _NORMAL, normal, "FLOAT_VECTOR")
    axes = {"Primary Axis": vector(_NORMAL), "Secondary Axis": vector(_TANGENT)}
    frame = t.node("FunctionNodeAxesToRotation", axes, primary_axis="Z", secondary_axis="X").outputs[0]
    return t.store(rows, _FRAME, frame, "QUATERNION")


def _output(t: Tree, entry: bpy.types.Node, vertices: bpy.types.NodeSocket) -> None:
    """The vertices for reading, and points with a radius and a material for looking."""
    scale = t.attribute("scale", "FLOAT_VECTOR")
    length = t.node("ShaderNodeVectorMath", {0: scale}, operation="LENGTH").outputs["Value"]
    # faint Gaussians are meant to be seen through: as solid points they would be a crust
    opacity = t.attribute("opacity", "FLOAT")
    solid = t.math("MULTIPLY", opacity, t.math("GREATER_THAN", opacity, 0.2))
    radius = t.math("MULTIPLY", t.math("MULTIPLY", length, entry.outputs[INPUT_SIZE]), solid)
    cloud = t.node("GeometryNodeMeshToPoints", {"Mesh": vertices, "Radius": radius}).outputs[0]
    cloud = t.node("GeometryNodeSetMaterial", {"Geometry": cloud, "Material": entry.outputs[INPUT_MATERIAL]}).outputs[0]
    switch = t.node("GeometryNodeSwitch", input_type="GEOMETRY")
    t.put(t.socket(switch.inputs, "Switch"), entry.outputs[INPUT_PREVIEW])
    t.put(t.socket(switch.inputs, "True"), cloud)
    join = t.node("GeometryNodeJoinGeometry")
    t.put(join.inputs[0], t.out(switch, "Output"))
    t.put(join.inputs[0], vertices)
    t.node("NodeGroupOutput", {0: join.outputs[0]})
