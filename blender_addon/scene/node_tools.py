# SPDX-License-Identifier: GPL-3.0-or-later
"""A few words for writing node trees in Python, so that avatar_nodes.py reads like the formulas it builds."""

from __future__ import annotations

from typing import Any

import bpy


class Tree:
    """Adds nodes to a node tree; sockets and plain numbers may stand wherever a value is wanted."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree
        self._column = 0

    def node(self, kind: str, inputs: dict[int | str, Any] | None = None, **settings: Any) -> bpy.types.Node:
        """Add a node of type ``kind``, set its properties, connect or set its inputs (by index or name)."""
        node = self.tree.nodes.new(kind)
        node.location = (self._column // 6 * 190, -(self._column % 6) * 170)
        node.hide = True
        self._column += 1
        for name, value in settings.items():
            setattr(node, name, value)
        for key, value in (inputs or {}).items():
            self.put(self.socket(node.inputs, key), value)
        return node

    def put(self, socket: bpy.types.NodeSocket, value: Any) -> None:
        """Connect an output socket to ``socket``, or set its value."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        elif value is not None:
            socket.default_value = value

    @staticmethod
    def socket(sockets: Any, key: int | str) -> bpy.types.NodeSocket:
        """The socket with this index or name; of several with one name, the enabled one."""
        if isinstance(key, int):
            return sockets[key]
        named = [socket for socket in sockets if socket.name == key]
        return next((socket for socket in named if socket.enabled), named[0])

    def out(self, node: bpy.types.Node, key: int | str = 0) -> bpy.types.NodeSocket:
        return self.socket(node.outputs, key)

    def math(self, operation: str, a: Any, b: Any = None, c: Any = None) -> bpy.types.NodeSocket:
        return self.node("ShaderNodeMath", {0: a, 1: b, 2: c}, operation=operation).outputs[0]

    def switch(self, condition: Any, no: Any, yes: Any) -> bpy.types.NodeSocket:
        """One of two numbers."""
        node = self.node("GeometryNodeSwitch", input_type="FLOAT")
        for name, value in (("Switch", condition), ("False", no), ("True", yes)):
            self.put(self.socket(node.inputs, name), value)
        return self.out(node, "Output")

    def vector(self, operation: str, a: Any, b: Any = None) -> bpy.types.NodeSocket:
        """A vector operation with vector result."""
        return self.node("ShaderNodeVectorMath", {0: a, 1: b}, operation=operation).outputs["Vector"]

    def scaled(self, a: Any, factor: Any) -> bpy.types.NodeSocket:
        return self.node("ShaderNodeVectorMath", {0: a, "Scale": factor}, operation="SCALE").outputs["Vector"]

    def sum_scaled(self, pairs: list[tuple[Any, Any]]) -> bpy.types.NodeSocket:
        """sum of vector * factor."""
        total = None
        for vector, factor in pairs:
            part = self.scaled(vector, factor)
            total = part if total is None else self.vector("ADD", total, part)
        assert total is not None
        return total

    def xyz(self, vector: Any) -> tuple[bpy.types.NodeSocket, bpy.types.NodeSocket, bpy.types.NodeSocket]:
        outputs = self.node("ShaderNodeSeparateXYZ", {0: vector}).outputs
        return outputs[0], outputs[1], outputs[2]

    def attribute(self, name: str, data_type: str) -> bpy.types.NodeSocket:
        node = self.node("GeometryNodeInputNamedAttribute", {"Name": name}, data_type=data_type)
        return self.out(node, "Attribute")

    def sample(
        self, geometry: Any, value: Any, index: Any, data_type: str, domain: str = "POINT"
    ) -> bpy.types.NodeSocket:
        """``value`` (a field on the points of ``geometry``, or another domain) at ``index``."""
        node = self.node("GeometryNodeSampleIndex", data_type=data_type, domain=domain)
        self.put(self.socket(node.inputs, "Geometry"), geometry)
        self.put(self.socket(node.inputs, "Value"), value)
        self.put(self.socket(node.inputs, "Index"), index)
        return self.out(node, "Value")

    def store(self, geometry: Any, name: str, value: Any, data_type: str) -> bpy.types.NodeSocket:
        node = self.node("GeometryNodeStoreNamedAttribute", data_type=data_type, domain="POINT")
        self.put(self.socket(node.inputs, "Geometry"), geometry)
        self.put(self.socket(node.inputs, "Name"), name)
        self.put(self.socket(node.inputs, "Value"), value)
        return self.out(node, "Geometry")
