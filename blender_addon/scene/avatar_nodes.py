# SPDX-License-Identifier: GPL-3.0-or-later
"""The Geometry Nodes that turn a carrier mesh and a moving head into Gaussians (docs/formats.md, "Tangent frame").

The carrier's vertices come in five blocks of N: position, log-scale, quaternion xyz, (w, opacity, 0), colour.
Out come N vertices with the attributes scale, rotation, opacity and color (what the render engine reads) and the same
as a point cloud that the viewport draws. The first two vertices have an edge: of a mesh without any, Blender's viewport
draws every vertex as a black dot, over the point cloud.
"""

from __future__ import annotations

import bpy

from .node_tools import Tree

GROUP = "Blendsplat Avatar"
VERSION = 2
CORNERS = ("corner_0", "corner_1", "corner_2")
BARYCENTRIC, TANGENT, BITANGENT = "barycentric", "tangent_weights", "bitangent_weights"
INPUT_HEAD, INPUT_PREVIEW, INPUT_SIZE, INPUT_MATERIAL = "Head", "Show Points", "Point Size", "Material"


def avatar_group() -> bpy.types.GeometryNodeTree:
    """The shared node group, built when it is missing or from an older version."""
    for tree in bpy.data.node_groups:
        if tree.get("blendsplat_version") == VERSION and tree.library is None and tree.bl_idname == "GeometryNodeTree":
            return tree
    tree = bpy.data.node_groups.new(GROUP, "GeometryNodeTree")
    tree["blendsplat_version"] = VERSION
    tree.is_modifier = True
    _interface(tree)
    _build(Tree(tree))
    return tree


def input_identifier(tree: bpy.types.NodeTree, name: str) -> str:
    """What Blender calls the group input ``name``."""
    return next(
        item.identifier
        for item in tree.interface.items_tree
        if item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name
    )


def outdated(tree: bpy.types.GeometryNodeTree | None) -> bool:
    """Whether it is a node group of ours from an older version of the add-on (a linked one is its library's)."""
    return tree is not None and tree.library is None and tree.get("blendsplat_version", VERSION) != VERSION


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
    show.default_value, show.description = True, "Draw the Gaussians as points in the viewport; off plays faster"
    size = new(INPUT_SIZE, in_out="INPUT", socket_type="NodeSocketFloat")
    size.default_value, size.min_value, size.max_value = 1.0, 0.0, 10.0
    size.description = "Size of the viewport's points relative to the Gaussians"
    new(INPUT_MATERIAL, in_out="INPUT", socket_type="NodeSocketMaterial").description = "How the viewport's points look"


def _build(t: Tree) -> None:
    entry = t.node("NodeGroupInput")
    carrier, head_object = entry.outputs["Geometry"], entry.outputs[INPUT_HEAD]
    head = t.out(t.node("GeometryNodeObjectInfo", {"Object": head_object}, transform_space="RELATIVE"), "Geometry")
    size = t.node("GeometryNodeAttributeDomainSize", {0: carrier}, component="MESH")
    count = t.math("DIVIDE", t.out(size, "Point Count"), 5.0)
    index = t.node("GeometryNodeInputIndex").outputs[0]
    position = t.node("GeometryNodeInputPosition").outputs[0]

    def block(number: int):
        where = index if number == 0 else t.math("MULTIPLY_ADD", count, float(number), index)
        return t.sample(carrier, position, where, "FLOAT_VECTOR")

    def constant(name: str, data_type: str):
        return t.sample(carrier, t.attribute(name, data_type), index, data_type)

    corners = [t.sample(head, position, constant(name, "INT"), "FLOAT_VECTOR") for name in CORNERS]
    edge1, edge2 = t.vector("SUBTRACT", corners[1], corners[0]), t.vector("SUBTRACT", corners[2], corners[0])
    normal = t.vector("NORMALIZE", t.vector("CROSS_PRODUCT", edge1, edge2))
    weights_t, weights_b = t.xyz(constant(TANGENT, "FLOAT_VECTOR")), t.xyz(constant(BITANGENT, "FLOAT_VECTOR"))
    tangent = t.vector("NORMALIZE", t.sum_scaled([(edge1, weights_t[0]), (edge2, weights_t[1])]))
    bitangent = t.vector("NORMALIZE", t.sum_scaled([(edge1, weights_b[0]), (edge2, weights_b[1])]))
    barycentric = t.xyz(constant(BARYCENTRIC, "FLOAT_VECTOR"))
    local = t.xyz(block(0))
    where = t.vector(
        "ADD",
        t.sum_scaled(list(zip(corners, barycentric, strict=True))),
        t.sum_scaled([(tangent, local[0]), (bitangent, local[1]), (normal, local[2])]),
    )

    line = t.node("GeometryNodeMeshLine", {"Count": count}).outputs[0]
    surplus = t.math("GREATER_THAN", index, 0.5)
    one_edge = t.node("GeometryNodeDeleteGeometry", {0: line, 1: surplus}, domain="EDGE", mode="EDGE_FACE").outputs[0]
    vertices = t.node("GeometryNodeSetPosition", {"Geometry": one_edge, "Position": where}).outputs[0]
    log_scale = t.xyz(block(1))
    scale = t.node("ShaderNodeCombineXYZ", {axis: t.math("EXPONENT", log_scale[axis]) for axis in range(3)}).outputs[0]
    quat_xyz, rest = t.xyz(block(2)), t.xyz(block(3))
    quat = t.node(
        "FunctionNodeQuaternionToRotation", {"W": rest[0], "X": quat_xyz[0], "Y": quat_xyz[1], "Z": quat_xyz[2]}
    )
    frame = t.node(
        "FunctionNodeAxesToRotation",
        {"Primary Axis": normal, "Secondary Axis": tangent},
        primary_axis="Z",
        secondary_axis="X",
    )
    rotation = t.node(
        "FunctionNodeRotateRotation", {0: frame.outputs[0], 1: quat.outputs[0]}, rotation_space="LOCAL"
    ).outputs[0]
    rgb = t.xyz(t.vector("MAXIMUM", block(4), (0.0, 0.0, 0.0)))
    color = t.node("FunctionNodeCombineColor", {"Red": rgb[0], "Green": rgb[1], "Blue": rgb[2]}).outputs[0]
    opacity = t.math("MINIMUM", t.math("MAXIMUM", rest[1], 0.0), 1.0)
    stored = t.store(vertices, "scale", scale, "FLOAT_VECTOR")
    stored = t.store(stored, "rotation", rotation, "QUATERNION")
    stored = t.store(stored, "opacity", opacity, "FLOAT")
    stored = t.store(stored, "color", color, "FLOAT_COLOR")
    _output(t, entry, stored)


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
