# SPDX-License-Identifier: GPL-3.0-or-later
"""Splats as geometry: a second modifier after an avatar's own, and snapshots of what it makes.

Shape keys, head and camera move the faces live, so a whole animation renders in EEVEE and Cycles, also on machines that
have neither the engine nor this add-on.
"""

from __future__ import annotations

import bpy

from . import avatar_nodes, linked, splat_nodes
from .splat_material import splat_material

MODIFIER = splat_nodes.GROUP
QUADS, ELLIPSOIDS = "QUADS", "ELLIPSOIDS"
UNLIT, LIT, AS_TRAINED = "UNLIT", "LIT", "AS_TRAINED"
MOST_TRANSPARENT = 1024  # as many layers as Cycles can look through
_SHADOW = "blendsplat_shadow"  # on an avatar that cast a shadow before its quads were lit
# Of the scene: a pixel of its camera's picture 1 away from it; of an orthographic one, as large as it is.
_CAMERA = {
    "w": "render.resolution_x", "h": "render.resolution_y", "p": "render.resolution_percentage",
    "x": "camera.data.sensor_width", "y": "camera.data.sensor_height", "f": "camera.data.sensor_fit",
    "l": "camera.data.lens", "o": "camera.data.ortho_scale", "t": "camera.data.type",
}  # fmt: skip
_FOLLOWS = {
    splat_nodes.PIXEL: (
        "(o if t == 1 else (y if f == 2 else x) / l) / ((h if f == 2 else w if f == 1 else max(w, h)) * p / 100)",
        "whpxyflot",
    ),
    splat_nodes.ORTHOGRAPHIC: ("t == 1", "t"),
}


def modifier_of(carrier: bpy.types.Object) -> bpy.types.NodesModifier | None:
    """The avatar's modifier that makes faces; None: it has none."""
    return next(
        (item for item in carrier.modifiers if item.type == "NODES" and splat_nodes.is_ours(item.node_group)), None
    )


def add(carrier: bpy.types.Object, shape: str, look: str, in_viewport: bool) -> bpy.types.NodesModifier:
    """Add the modifier after all others, or change the one that is there. ``shape``: QUADS or ELLIPSOIDS; ``look``:
    UNLIT, LIT or AS_TRAINED."""
    modifier = modifier_of(carrier)
    if modifier is None:
        modifier = carrier.modifiers.new(MODIFIER, "NODES")
        modifier.node_group = splat_nodes.geometry_group()
        _follow_camera(carrier, modifier)
    values = {
        splat_nodes.ELLIPSOIDS: shape == ELLIPSOIDS,
        splat_nodes.LIT: look == LIT,
        splat_nodes.AS_TRAINED: look == AS_TRAINED,
        splat_nodes.HEAD: carrier.blendsplat.head,
        splat_nodes.MATERIAL: splat_material(shape == ELLIPSOIDS, look == LIT),
    }
    for name, value in values.items():
        avatar_nodes.set_input(modifier, name, value)
    modifier.show_viewport = in_viewport
    _shadow(carrier, shape == QUADS and look == LIT)
    carrier.update_tag()
    return modifier


def remove(carrier: bpy.types.Object) -> None:
    """Take the modifier away, with its drivers, where there is one."""
    modifier = modifier_of(carrier)
    if modifier is not None:
        for name in (splat_nodes.PIXEL, splat_nodes.ORTHOGRAPHIC):
            carrier.driver_remove(_path(modifier, name))
        carrier.modifiers.remove(modifier)
        _shadow(carrier, False)


def shape_of(modifier: bpy.types.NodesModifier) -> str:
    """QUADS or ELLIPSOIDS."""
    return ELLIPSOIDS if avatar_nodes.input_of(modifier, splat_nodes.ELLIPSOIDS) else QUADS


def look_of(modifier: bpy.types.NodesModifier) -> str:
    """UNLIT, LIT or AS_TRAINED."""
    if avatar_nodes.input_of(modifier, splat_nodes.LIT):
        return LIT
    return AS_TRAINED if avatar_nodes.input_of(modifier, splat_nodes.AS_TRAINED) else UNLIT


def view_transform_for(look: str) -> str:
    """The view transform that shows the video's colours."""
    return "Raw" if look == AS_TRAINED else "Standard"


def snapshot(context: bpy.types.Context, carrier: bpy.types.Object) -> bpy.types.Object | None:
    """The present frame's faces as a mesh object of their own, in the avatar's place and collections; None where the
    avatar is in no view. Needs the modifier."""
    modifier = modifier_of(carrier)
    shown = modifier.show_viewport
    modifier.show_viewport = True
    try:
        mesh = _faces(context.evaluated_depsgraph_get(), carrier)
    finally:
        modifier.show_viewport = shown
    if mesh is None:
        return None
    made = bpy.data.objects.new(f"{carrier.name} Frame {context.scene.frame_current}", mesh)
    mesh.name, made.matrix_world = made.name, carrier.matrix_world
    made.visible_shadow = carrier.visible_shadow
    for collection in linked.collections_for(carrier, context.scene):
        collection.objects.link(made)
    return made


def _faces(depsgraph: bpy.types.Depsgraph, carrier: bpy.types.Object) -> bpy.types.Mesh | None:
    """A new mesh of what the modifier puts beside the avatar's vertices."""
    for instance in depsgraph.object_instances:
        if instance.is_instance and instance.parent is not None and instance.parent.original == carrier:
            item = instance.object
            if item.type == "MESH" and splat_nodes.COLOR in item.data.attributes:
                return bpy.data.meshes.new_from_object(item)
    return None


def _shadow(carrier: bpy.types.Object, none: bool) -> None:
    """Quads lie over each other along the view: lit ones would stand in each other's shadow."""
    if none and carrier.visible_shadow:
        carrier[_SHADOW], carrier.visible_shadow = True, False
    elif not none and _SHADOW in carrier:
        del carrier[_SHADOW]
        carrier.visible_shadow = True


def _follow_camera(carrier: bpy.types.Object, modifier: bpy.types.NodesModifier) -> None:
    """Drive what the nodes of 4.2 cannot ask the camera for. Without Python: plain expressions run in any file."""
    for name, (expression, letters) in _FOLLOWS.items():
        driver = carrier.driver_add(_path(modifier, name)).driver
        driver.type = "SCRIPTED"
        for letter in letters:
            variable = driver.variables.new()
            variable.name, variable.type = letter, "CONTEXT_PROP"
            variable.targets[0].context_property, variable.targets[0].data_path = "ACTIVE_SCENE", _CAMERA[letter]
        driver.expression = expression


def _path(modifier: bpy.types.NodesModifier, name: str) -> str:
    """The data path of a group input's value, for drivers."""
    identifier = avatar_nodes.input_identifier(modifier.node_group, name)
    own = f'modifiers["{bpy.utils.escape_identifier(modifier.name)}"]'
    return (
        f"{own}.properties.inputs.{identifier}.value" if hasattr(modifier, "properties") else f'{own}["{identifier}"]'
    )
