# SPDX-License-Identifier: GPL-3.0-or-later
"""A carrier's numbers (carrier_mesh) as fields of Geometry Nodes: over its Gaussians, those of triangles over the rows
of its table of triangles (of a FULL carrier, which has none: over its Gaussians).
"""

from __future__ import annotations

import bpy

from . import carrier_mesh
from .node_tools import Tree


def reader(t: Tree, carrier: bpy.types.NodeSocket, layout: carrier_mesh.Layout) -> _Compact | _Full:
    """What reads carriers of this layout."""
    return _Compact(t, carrier) if layout == carrier_mesh.COMPACT else _Full(t, carrier)


class Reader:
    """The fields; ``count`` is the number of Gaussians, ``index`` and ``points`` are Index and Position."""

    domain: str
    count: bpy.types.NodeSocket

    def __init__(self, t: Tree, carrier: bpy.types.NodeSocket) -> None:
        self.t, self.carrier = t, carrier
        self.index = t.node("GeometryNodeInputIndex").outputs[0]
        self.points = t.node("GeometryNodeInputPosition").outputs[0]
        self.size = t.node("GeometryNodeAttributeDomainSize", {0: carrier}, component="MESH")

    def block(self, number: int) -> bpy.types.NodeSocket:
        where = self.index if number == 0 else self.t.math("MULTIPLY_ADD", self.count, float(number), self.index)
        return self.t.sample(self.carrier, self.points, where, "FLOAT_VECTOR")

    def constant(self, name: str, data_type: str) -> bpy.types.NodeSocket:
        value = self.t.attribute(name, data_type)
        return self.t.sample(self.carrier, value, self.index, data_type, self.domain)


class _Compact(Reader):
    domain = "EDGE"

    def __init__(self, t: Tree, carrier: bpy.types.NodeSocket) -> None:
        super().__init__(t, carrier)
        self.count = t.out(self.size, "Edge Count")

    def rows(self) -> bpy.types.NodeSocket:
        triangle = self.t.attribute(carrier_mesh.TRIANGLE, "INT")
        last = self.t.math("SUBTRACT", self.count, 1.0)
        return self.t.math("ADD", self.t.sample(self.carrier, triangle, last, "INT", "EDGE"), 1.0)

    def row(self) -> bpy.types.NodeSocket:
        return self.constant(carrier_mesh.TRIANGLE, "INT")

    def link(self) -> bpy.types.NodeSocket:
        start = self.t.node("GeometryNodeInputMeshEdgeVertices").outputs[0]
        return self.t.sample(self.carrier, start, self.t.math("SUBTRACT", self.count, 1.0), "INT", "EDGE")

    def inside(self) -> list[bpy.types.NodeSocket]:
        return [self.constant(name, "FLOAT") for name in carrier_mesh.INSIDE]

    def tangents(self) -> list[tuple[bpy.types.NodeSocket, ...]]:
        angles = [self.constant(name, "FLOAT") for name in (carrier_mesh.TANGENT, carrier_mesh.BITANGENT)]
        return [(self.t.math("COSINE", angle), self.t.math("SINE", angle)) for angle in angles]

    def position(self) -> bpy.types.NodeSocket:
        return self.block(0)

    def quaternion(self) -> tuple[bpy.types.NodeSocket, tuple[bpy.types.NodeSocket, ...]]:
        t = self.t
        third = t.math("SUBTRACT", t.out(self.size, "Point Count"), t.math("MULTIPLY", self.count, 3.0))
        second = t.math("GREATER_THAN", self.index, t.math("SUBTRACT", third, 0.5))
        last = t.math("GREATER_THAN", self.index, t.math("MULTIPLY_ADD", third, 2.0, -0.5))
        start = t.math("MULTIPLY_ADD", self.count, 3.0, self.index)
        where = t.math("SUBTRACT", start, t.math("MULTIPLY", third, t.math("ADD", second, last)))
        x, y, z = t.xyz(t.sample(self.carrier, self.points, where, "FLOAT_VECTOR"))
        return t.switch(last, t.switch(second, x, y), z), t.xyz(self.block(1))

    def color(self) -> bpy.types.NodeSocket:
        return self.block(2)

    def scale(self) -> bpy.types.NodeSocket:
        return self.constant(carrier_mesh.SCALE, "FLOAT_VECTOR")

    def opacity(self) -> bpy.types.NodeSocket:
        return self.constant(carrier_mesh.OPACITY, "FLOAT")


class _Full(Reader):
    domain = "POINT"

    def __init__(self, t: Tree, carrier: bpy.types.NodeSocket) -> None:
        super().__init__(t, carrier)
        self.count = t.math("DIVIDE", t.out(self.size, "Point Count"), 5.0)
        self._rest = t.xyz(self.block(3))

    def rows(self) -> bpy.types.NodeSocket:
        return self.count

    def row(self) -> bpy.types.NodeSocket:
        return self.index

    def link(self) -> float:
        return 0.0

    def inside(self) -> tuple[bpy.types.NodeSocket, ...]:
        return self.t.xyz(self.constant(carrier_mesh.BARYCENTRIC_VECTOR, "FLOAT_VECTOR"))[1:]

    def tangents(self) -> list[tuple[bpy.types.NodeSocket, ...]]:
        names = (carrier_mesh.TANGENT_VECTOR, carrier_mesh.BITANGENT_VECTOR)
        return [self.t.xyz(self.constant(name, "FLOAT_VECTOR"))[:2] for name in names]

    def position(self) -> bpy.types.NodeSocket:
        return self.block(0)

    def quaternion(self) -> tuple[bpy.types.NodeSocket, tuple[bpy.types.NodeSocket, ...]]:
        return self._rest[0], self.t.xyz(self.block(2))

    def color(self) -> bpy.types.NodeSocket:
        return self.block(4)

    def scale(self) -> bpy.types.NodeSocket:
        log_scale = self.t.xyz(self.block(1))
        inputs = {axis: self.t.math("EXPONENT", log_scale[axis]) for axis in range(3)}
        return self.t.node("ShaderNodeCombineXYZ", inputs).outputs[0]

    def opacity(self) -> bpy.types.NodeSocket:
        return self.t.math("MINIMUM", self.t.math("MAXIMUM", self._rest[1], 0.0), 1.0)
