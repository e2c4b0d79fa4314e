# SPDX-License-Identifier: GPL-3.0-or-later
"""Avatars over a picture of everything else: a second scene of the same objects, rendered by EEVEE or Cycles, behind
the avatars' own in the compositor.

Blender renders a scene with one engine, and a compositor may take pictures of several scenes: so one Render Image or
Animation draws both. The second scene links the same collections and follows the first one's camera, size, frames and
visible collections. Avatars' heads, which no camera sees, cast their shadows in it.
"""

from __future__ import annotations

from collections.abc import Iterator

import bpy

from . import handlers

_OVER, _LAYERS = "Avatars over Surroundings", "Surroundings"
_RENDER = (
    "resolution_x", "resolution_y", "resolution_percentage", "pixel_aspect_x", "pixel_aspect_y", "use_border",
    "border_min_x", "border_max_x", "border_min_y", "border_max_y", "use_crop_to_border", "fps", "fps_base",
    "use_motion_blur", "motion_blur_shutter", "use_simplify", "simplify_subdivision_render",
)  # fmt: skip
_SCENE = ("camera", "world", "frame_start", "frame_end", "frame_step")
_LAYER = ("exclude", "hide_viewport", "holdout", "indirect_only")


def of(scene: bpy.types.Scene) -> bpy.types.Scene | None:
    """The scene behind a scene's avatars."""
    return scene.blendsplat_render.surroundings


def add(scene: bpy.types.Scene, engine: str) -> bpy.types.Scene:
    """Put a picture by ``engine`` (Blender's id of it) behind the avatars; a second call changes the engine."""
    behind = of(scene)
    if behind is None:
        behind = bpy.data.scenes.new(f"{scene.name} Surroundings")
        behind.view_layers[0].update()  # from 5.0 on it has no collections before
        scene.blendsplat_render.surroundings = behind
    behind.render.engine = engine
    behind.render.film_transparent = scene.render.film_transparent
    scene.render.film_transparent = True
    for item in scene.objects:
        if item.blendsplat.kind == "AVATAR" and (head := item.blendsplat.head) is not None:
            cast_shadows(head)
    follow(scene)
    _compose(scene, behind)
    return behind


def remove(scene: bpy.types.Scene) -> None:
    """Render avatars alone again: the second scene and its nodes go, the artist's own nodes stay."""
    behind, tree = of(scene), _tree(scene)
    over = tree.nodes.get(_OVER) if tree is not None else None
    if over is not None:
        foreground = _colors(over)[1]
        source = foreground.links[0].from_socket if foreground.links else None
        for link in list(over.outputs[0].links):
            if source is not None:
                tree.links.new(source, link.to_socket)
        for name in (_OVER, _LAYERS):
            if (node := tree.nodes.get(name)) is not None:
                tree.nodes.remove(node)
    if behind is not None:
        scene.render.film_transparent = behind.render.film_transparent
        bpy.data.scenes.remove(behind)


def cast_shadows(head: bpy.types.Object) -> None:
    """A head that is rendered, but that neither cameras nor mirrors see."""
    head.hide_render = False
    for name in ("visible_camera", "visible_glossy", "visible_transmission"):
        setattr(head, name, False)
    head.visible_shadow = True


def follow(scene: bpy.types.Scene) -> None:
    """Bring the second scene up to date; touches only what differs."""
    behind = of(scene)
    if behind is None:
        return
    for source, target, names in ((scene.render, behind.render, _RENDER), (scene, behind, _SCENE)):
        for name in names:
            if hasattr(source, name) and getattr(target, name) != getattr(source, name):
                setattr(target, name, getattr(source, name))
    for kind in ("children", "objects"):
        wanted, there = getattr(scene.collection, kind), getattr(behind.collection, kind)
        for item in [item for item in there if item.name not in wanted]:
            there.unlink(item)
        for item in [item for item in wanted if item.name not in there]:
            there.link(item)
    layers = {layer.collection: layer for layer in _layers(scene.view_layers[0].layer_collection)}
    for layer in _layers(behind.view_layers[0].layer_collection):
        if (source := layers.get(layer.collection)) is not None:
            for name in _LAYER:
                if getattr(layer, name) != getattr(source, name):
                    setattr(layer, name, getattr(source, name))


def _layers(layer: bpy.types.LayerCollection | None) -> Iterator[bpy.types.LayerCollection]:
    """All layers below one, whose own settings cannot be changed; none of one that was never updated."""
    for child in layer.children if layer is not None else ():
        yield child
        yield from _layers(child)


def _tree(scene: bpy.types.Scene) -> bpy.types.NodeTree | None:
    return scene.compositing_node_group if hasattr(scene, "compositing_node_group") else scene.node_tree


def _compose(scene: bpy.types.Scene, behind: bpy.types.Scene) -> None:
    """Whatever took the scene's own picture takes it over the other scene's; an artist's grading goes on."""
    tree = _own_tree(scene)
    if _OVER in tree.nodes:
        return
    own = next(
        (node for node in tree.nodes if node.bl_idname == "CompositorNodeRLayers" and node.scene in (scene, None)), None
    )
    if own is None:
        own = tree.nodes.new("CompositorNodeRLayers")
        own.scene = scene
    other = tree.nodes.new("CompositorNodeRLayers")
    other.name = other.label = _LAYERS
    other.scene = behind
    over = tree.nodes.new("CompositorNodeAlphaOver")
    over.name = over.label = _OVER
    taken = [link.to_socket for link in own.outputs["Image"].links]
    tree.links.new(other.outputs["Image"], _colors(over)[0])
    tree.links.new(own.outputs["Image"], _colors(over)[1])
    for socket in taken or [_end(tree)]:
        tree.links.new(over.outputs[0], socket)
    x, y = own.location
    other.location, over.location = (x, y - 400), (x + 300, y)


def _own_tree(scene: bpy.types.Scene) -> bpy.types.NodeTree:
    """The scene's compositor, made where there is none."""
    if hasattr(scene, "compositing_node_group"):  # 5.0 and later
        if scene.compositing_node_group is None:
            tree = bpy.data.node_groups.new(f"{scene.name} Compositing", "CompositorNodeTree")
            tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
            scene.compositing_node_group = tree
        return scene.compositing_node_group
    scene.use_nodes = True
    return scene.node_tree


def _end(tree: bpy.types.NodeTree) -> bpy.types.NodeSocket:
    """The socket that becomes the picture."""
    for kind in ("NodeGroupOutput", "CompositorNodeComposite"):
        for node in tree.nodes:
            if node.bl_idname == kind:
                return node.inputs[0]
    grouped = "CompositorNodeComposite" if hasattr(bpy.types, "CompositorNodeComposite") else "NodeGroupOutput"
    node = tree.nodes.new(grouped)
    node.location = (800, 0)
    return node.inputs[0]


def _colors(over: bpy.types.Node) -> list[bpy.types.NodeSocket]:
    """The Alpha Over node's background and foreground."""
    return [socket for socket in over.inputs if socket.type == "RGBA"]


@bpy.app.handlers.persistent
def _changed(scene: bpy.types.Scene, *_: object) -> None:
    if of(scene) is not None:
        follow(scene)


@bpy.app.handlers.persistent
def _loaded(*_: object) -> None:
    for scene in bpy.data.scenes:
        follow(scene)


_HANDLERS = (("depsgraph_update_post", _changed), ("render_init", _changed), ("load_post", _loaded))


def register() -> None:
    handlers.add(_HANDLERS)


def unregister() -> None:
    handlers.remove(_HANDLERS)
