# SPDX-License-Identifier: GPL-3.0-or-later
"""The Geometry Nodes that turn Gaussians into faces which EEVEE and Cycles draw without this add-on.

In come an avatar's vertices with the attributes scale, rotation, opacity and color; out come the same vertices and,
beside them as an instance (so they stay the only vertices of the mesh), one of

- quads: each Gaussian's ellipse in the scene camera's picture (EWA splatting, as the engine draws it), in the plane
  through its centre that faces the camera, far ones first, because EEVEE blends a mesh in the order of its faces;
- ellipsoids: the Gaussians that are opaque enough, as solid bodies.

The faces carry what splat_material.py reads: splat_color (linear light, or the video's values); quads also splat (place
in the ellipse, in standard deviations) and splat_opacity; lit faces also splat_normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import bpy

from .node_tools import Tree

GROUP = "Splats as Geometry"
VERSION = 1
_VERSION = "blendsplat_geometry_version"
ELLIPSOIDS, AS_TRAINED, LIT, HEAD, MATERIAL = "Ellipsoids", "Colors as Trained", "Lit", "Head", "Material"
PIXEL, ORTHOGRAPHIC = "Pixel Size", "Orthographic"
SIZE, LEAST, DETAIL = "Ellipsoid Size", "Least Opacity", "Detail"
PLACE, OPACITY, COLOR, NORMAL = "splat", "splat_opacity", "splat_color", "splat_normal"
# The rasterizer's numbers: added to a covariance (square pixels), the least alpha that is drawn, the nearest depth.
LOW_PASS, ALPHA_MIN, NEAR = 0.3, 1 / 255, 0.01
SKIN = 0.05  # metres: what lies deeper below the surface that the camera sees belongs to another side of the head
_READ = ("scale", "rotation", "opacity", "color")


def geometry_group() -> bpy.types.GeometryNodeTree:
    """The shared node group, built when it is missing or from an older version."""
    for tree in bpy.data.node_groups:
        if tree.get(_VERSION) == VERSION and tree.library is None and tree.bl_idname == "GeometryNodeTree":
            return tree
    tree = bpy.data.node_groups.new(GROUP, "GeometryNodeTree")
    tree[_VERSION] = VERSION
    tree.is_modifier = True
    _interface(tree)
    _build(Tree(tree))
    return tree


def is_ours(tree: bpy.types.NodeTree | None) -> bool:
    """Whether it is a node group that makes faces of Gaussians, of whatever version, or an artist's copy of it."""
    return tree is not None and _VERSION in tree


def _interface(tree: bpy.types.GeometryNodeTree) -> None:
    def new(name: str, kind: str, words: str, value: Any = None, most: float | None = None) -> None:
        socket = tree.interface.new_socket(name, in_out="INPUT", socket_type=f"NodeSocket{kind}")
        socket.description = words
        if most is not None:
            socket.min_value, socket.max_value = type(most)(kind == "Int"), most
        if value is not None:
            socket.default_value = value

    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    new("Geometry", "Geometry", "An avatar's Gaussians")
    new(ELLIPSOIDS, "Bool", "Solid ellipsoids instead of soft quads that face the scene's camera", False)
    new(LIT, "Bool", "Faces take the head's surface normals, for a material that lamps light", False)
    new(HEAD, "Object", "The head whose surface normals lit faces take; empty: quads face the camera")
    new(
        AS_TRAINED, "Bool", "Give the material the video's own values, to be blended as in training; such a render has "
        'the right colors with the view transform "Raw"', False,
    )  # fmt: skip
    new(
        PIXEL, "Float", "A pixel of the render at a distance of 1 from the camera; an orthographic camera's at any. "
        "Quads are blurred by about half of it, as the engine does; 0: no blur", 0.0, 1e6,
    )  # fmt: skip
    new(ORTHOGRAPHIC, "Bool", "The scene's camera is an orthographic one", False)
    new(SIZE, "Float", "Half axes of the ellipsoids in standard deviations of the Gaussians", 2.0, 10.0)
    new(LEAST, "Float", "Gaussians that are fainter become no ellipsoid", 0.3, 1.0)
    new(DETAIL, "Int", "Faces of an ellipsoid: 20, 80, 320, ...", 1, 5)
    new(MATERIAL, "Material", "How the faces look")


def _build(t: Tree) -> None:
    entry = t.node("NodeGroupInput").outputs
    parts = t.node("GeometryNodeSeparateComponents", {0: entry["Geometry"]}).outputs
    gaussians = t.store(parts["Mesh"], COLOR, _light(t, entry[AS_TRAINED]), "FLOAT_COLOR")
    switch = t.node("GeometryNodeSwitch", input_type="GEOMETRY")
    t.put(t.socket(switch.inputs, "Switch"), entry[ELLIPSOIDS])
    t.put(t.socket(switch.inputs, "True"), _ellipsoids(t, entry, gaussians))
    t.put(t.socket(switch.inputs, "False"), _quads(t, entry, gaussians))
    faces = t.node("GeometryNodeSetMaterial", {"Geometry": t.out(switch, "Output"), "Material": entry[MATERIAL]})
    beside = t.node("GeometryNodeGeometryToInstance", {0: faces.outputs[0]}).outputs[0]
    join = t.node("GeometryNodeJoinGeometry")
    # Points are a preview, which would cover the faces.
    for part in (beside, parts["Instances"], parts["Mesh"]):
        t.put(join.inputs[0], part)
    t.node("NodeGroupOutput", {0: join.outputs[0]})


def _light(t: Tree, as_trained: Any) -> bpy.types.NodeSocket:
    """The attribute color as light by the sRGB curve (IEC 61966-2-1), or as it is."""
    channels = []
    separated = t.node("FunctionNodeSeparateColor", {0: t.attribute("color", "FLOAT_COLOR")}).outputs
    for channel in list(separated)[:3]:
        value = t.math("MAXIMUM", channel, 0.0)
        curve = t.math("POWER", t.math("DIVIDE", t.math("ADD", value, 0.055), 1.055), 2.4)
        light = _choice(t, t.math("GREATER_THAN", value, 0.04045), curve, t.math("DIVIDE", value, 12.92))
        channels.append(_choice(t, as_trained, value, light))
    return t.node("FunctionNodeCombineColor", dict(enumerate(channels))).outputs[0]


def _choice(t: Tree, which: Any, true: Any, false: Any, kind: str = "FLOAT") -> bpy.types.NodeSocket:
    switch = t.node("GeometryNodeSwitch", input_type=kind)
    for name, value in (("Switch", which), ("True", true), ("False", false)):
        t.put(t.socket(switch.inputs, name), value)
    return t.out(switch, "Output")


def _dot(t: Tree, a: Any, b: Any) -> bpy.types.NodeSocket:
    return t.node("ShaderNodeVectorMath", {0: a, 1: b}, operation="DOT_PRODUCT").outputs["Value"]


def _quads(t: Tree, entry: Any, gaussians: Any) -> bpy.types.NodeSocket:
    right, up, back, away = _camera(t)
    depth = t.math("MULTIPLY", _dot(t, away, back), -1.0)
    drawn = t.math("GREATER_THAN", t.attribute("opacity", "FLOAT"), ALPHA_MIN)
    drawn = t.math("MULTIPLY", drawn, t.math("GREATER_THAN", depth, NEAR))
    points = t.node("GeometryNodeSeparateGeometry", {0: gaussians, 1: drawn}, domain="POINT").outputs[0]
    across, along = _ellipse(t, entry, away, depth, right, up, back)
    points = t.store(points, "across", across, "FLOAT_VECTOR")
    points = t.store(points, "along", along, "FLOAT_VECTOR")

    def of(value: Any, kind: str = "FLOAT_VECTOR") -> bpy.types.NodeSocket:
        """A point's value at each of its quad's four corners."""
        return t.sample(points, value, t.math("FLOOR", t.math("DIVIDE", index, 4.0)), kind)

    index = t.node("GeometryNodeInputIndex").outputs[0]
    flat = _spread(t, points, of)
    # Of faces only: vertices that change their order from frame to frame would streak in Cycles' motion blur.
    far_first = {"Geometry": flat, "Sort Weight": _dot(t, away, back)}
    flat = t.node("GeometryNodeSortElements", far_first, domain="FACE").outputs[0]
    normal = of(_or(t, _normal(t, entry), back))
    return _choice(t, entry[LIT], t.store(flat, NORMAL, normal, "FLOAT_VECTOR"), flat, "GEOMETRY")


def _camera(t: Tree) -> tuple[Any, Any, Any, Any]:
    """The scene camera's axes in the avatar's space (right, up, backwards), and the way from it to each point."""
    camera = t.node("GeometryNodeObjectInfo", transform_space="RELATIVE")
    t.put(t.socket(camera.inputs, "Object"), t.node("GeometryNodeInputActiveCamera").outputs[0])
    turned, place = t.out(camera, "Rotation"), t.out(camera, "Location")
    right, up, back = (
        t.node("FunctionNodeRotateVector", {0: axis, 1: turned}).outputs[0]
        for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    )
    return right, up, back, t.vector("SUBTRACT", t.node("GeometryNodeInputPosition").outputs[0], place)


def _spread(t: Tree, points: Any, of: Callable[..., Any]) -> bpy.types.NodeSocket:
    """A quad for each of the points, as far as its alpha is one that is drawn, with what the material reads."""
    position, opacity = t.node("GeometryNodeInputPosition").outputs[0], t.attribute("opacity", "FLOAT")
    count = t.out(t.node("GeometryNodeAttributeDomainSize", {0: points}, component="MESH"), "Point Count")
    square = t.node("GeometryNodeMeshGrid", {"Vertices X": 2, "Vertices Y": 2, "Size X": 2.0, "Size Y": 2.0}).outputs[0]
    faces = t.node("GeometryNodeDuplicateElements", {"Geometry": square, "Amount": count}, domain="FACE").outputs[0]
    logarithm = t.math("LOGARITHM", t.math("DIVIDE", opacity, ALPHA_MIN), math.e)
    reach = t.math("SQRT", t.math("MULTIPLY", logarithm, 2.0))
    faces = t.store(faces, PLACE, t.scaled(position, of(reach, "FLOAT")), "FLOAT_VECTOR")
    faces = t.store(faces, OPACITY, of(opacity, "FLOAT"), "FLOAT")
    faces = t.store(faces, COLOR, of(t.attribute(COLOR, "FLOAT_COLOR"), "FLOAT_COLOR"), "FLOAT_COLOR")
    u, v, _ = t.xyz(t.attribute(PLACE, "FLOAT_VECTOR"))
    spanned = [(of(t.attribute("across", "FLOAT_VECTOR")), u), (of(t.attribute("along", "FLOAT_VECTOR")), v)]
    where = t.vector("ADD", of(position), t.sum_scaled(spanned))
    return t.node("GeometryNodeSetPosition", {"Geometry": faces, "Position": where}).outputs[0]


def _ellipse(t: Tree, entry: Any, away: Any, depth: Any, right: Any, up: Any, back: Any) -> tuple[Any, Any]:
    """The two vectors that span a Gaussian's ellipse (one standard deviation) in the plane through its centre.

    J W S Wt Jt times the squared depth: with the rows of the projection taken into the Gaussian's own axes, its entries
    are their dot products. Any root of that matrix spans the ellipse; Cholesky's needs no angles.
    """
    ratio = t.math("DIVIDE", _choice(t, entry[ORTHOGRAPHIC], 0.0, 1.0), depth)
    into = t.node("FunctionNodeInvertRotation", {0: t.attribute("rotation", "QUATERNION")}).outputs[0]
    rows = []
    for axis in (right, up):
        row = t.vector("ADD", axis, t.scaled(back, t.math("MULTIPLY", _dot(t, away, axis), ratio)))
        own = t.node("FunctionNodeRotateVector", {0: row, 1: into}).outputs[0]
        rows.append(t.vector("MULTIPLY", own, t.attribute("scale", "FLOAT_VECTOR")))
    own_object = t.node("GeometryNodeObjectInfo", {"Object": t.node("GeometryNodeSelfObject").outputs[0]})
    shrunk = t.math("DIVIDE", 1.0, t.xyz(t.out(own_object, "Scale"))[0])  # here all is in the avatar's own space
    pixel = t.math("MULTIPLY", entry[PIXEL], _choice(t, entry[ORTHOGRAPHIC], shrunk, depth))
    blur = t.math("MULTIPLY", t.math("MULTIPLY", pixel, pixel), LOW_PASS)
    xx, yy = (t.math("ADD", _dot(t, row, row), blur) for row in rows)
    first = t.math("SQRT", t.math("MAXIMUM", xx, 1e-16))
    lean = t.math("DIVIDE", _dot(t, *rows), first)
    second = t.math("SQRT", t.math("MAXIMUM", t.math("SUBTRACT", yy, t.math("MULTIPLY", lean, lean)), 1e-16))
    return t.sum_scaled([(right, first), (up, lean)]), t.scaled(up, second)


def _normal(t: Tree, entry: Any) -> bpy.types.NodeSocket:
    """The normal of what the camera sees of the head in front of a point; nothing (0, 0, 0) without a head.

    Next to a point below the skin may be the wall of the mouth or of an eye's socket. So the nearest surface is asked
    only where the camera sees none, or sees another side of the head.
    """
    head, normals = _head(t, entry)
    position = t.node("GeometryNodeInputPosition").outputs[0]
    _right, _up, back, away = _camera(t)
    straight = t.scaled(back, t.math("MULTIPLY", _dot(t, away, back), -1.0))
    to_camera = _choice(t, entry[ORTHOGRAPHIC], straight, t.scaled(away, -1.0), "VECTOR")
    ray = t.node("GeometryNodeRaycast", {"Target Geometry": head}, data_type="FLOAT_VECTOR")
    t.put(t.socket(ray.inputs, "Attribute"), normals)
    t.put(t.socket(ray.inputs, "Source Position"), t.vector("ADD", position, to_camera))
    t.put(t.socket(ray.inputs, "Ray Direction"), t.scaled(to_camera, -1.0))
    t.put(t.socket(ray.inputs, "Ray Length"), 1e6)
    between = t.vector("SUBTRACT", t.out(ray, "Hit Position"), position)
    same_side = t.math("LESS_THAN", _dot(t, between, between), SKIN * SKIN)
    seen = t.math("MULTIPLY", t.out(ray, "Is Hit"), same_side)
    nearest = t.node("GeometryNodeSampleNearestSurface", data_type="FLOAT_VECTOR")
    t.put(t.socket(nearest.inputs, "Mesh"), head)
    t.put(t.socket(nearest.inputs, "Value"), normals)
    return _choice(t, seen, t.out(ray, "Attribute"), t.out(nearest, "Value"), "VECTOR")


def _head(t: Tree, entry: Any) -> tuple[Any, Any]:
    """The head, and its smooth normals as a field on it."""
    head = t.node("GeometryNodeObjectInfo", {"Object": entry[HEAD]}, transform_space="ORIGINAL")
    smooth = t.node("GeometryNodeFieldOnDomain", domain="POINT", data_type="FLOAT_VECTOR")
    t.put(t.socket(smooth.inputs, "Value"), t.node("GeometryNodeInputNormal").outputs[0])
    return t.out(head, "Geometry"), t.out(smooth, "Value")


def _or(t: Tree, normal: Any, otherwise: Any) -> bpy.types.NodeSocket:
    return _choice(t, t.math("GREATER_THAN", _dot(t, normal, normal), 0.01), normal, otherwise, "VECTOR")


def _ellipsoids(t: Tree, entry: Any, gaussians: Any) -> bpy.types.NodeSocket:
    lit, opaque = entry[LIT], t.math("GREATER_THAN", t.attribute("opacity", "FLOAT"), entry[LEAST])
    normal = t.store(gaussians, NORMAL, _normal(t, entry), "FLOAT_VECTOR")
    ball = t.node("GeometryNodeMeshIcoSphere", {"Radius": 1.0, "Subdivisions": entry[DETAIL]}).outputs[0]
    smooth = t.node("GeometryNodeSetShadeSmooth", {0: ball}).outputs[0]
    instances = t.node(
        "GeometryNodeInstanceOnPoints",
        {
            "Points": _choice(t, lit, normal, gaussians, "GEOMETRY"),
            "Selection": opaque,
            "Instance": smooth,
            "Rotation": t.attribute("rotation", "QUATERNION"),
            "Scale": t.scaled(t.attribute("scale", "FLOAT_VECTOR"), entry[SIZE]),
        },
    ).outputs[0]
    for name in _READ:  # with these, a body would be taken for Gaussians
        instances = t.node("GeometryNodeRemoveAttribute", {"Geometry": instances, "Name": name}).outputs[0]
    bodies = t.node("GeometryNodeRealizeInstances", {"Geometry": instances}).outputs[0]
    own = t.node("GeometryNodeInputNormal").outputs[0]
    either = t.store(bodies, NORMAL, _or(t, t.attribute(NORMAL, "FLOAT_VECTOR"), own), "FLOAT_VECTOR")
    return _choice(t, lit, either, bodies, "GEOMETRY")
