# SPDX-License-Identifier: GPL-3.0-or-later
"""Live: while it is on, an avatar's blendshapes follow its head's sliders and bones at once, through the network.

Handlers run after Blender's own evaluation; they act only when the head changed, so they never chase their own changes.
"""

from __future__ import annotations

import bpy

from . import avatar_rig, keyframes

_busy = False


def toggled(item: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """Live was switched: its keys cannot follow both the head and baked curves, so the curves are muted meanwhile."""
    carrier = item.id_data
    if item.kind != "AVATAR" or carrier.data.shape_keys is None:
        return
    names = {f'key_blocks["{key.name}"].value' for key in avatar_rig.blendshape_keys(carrier)}
    for curve in keyframes.fcurves(carrier.data.shape_keys):
        if curve.data_path in names:
            curve.mute = item.live
    if item.live:
        _update([carrier], context.evaluated_depsgraph_get())


@bpy.app.handlers.persistent
def on_depsgraph_update(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """depsgraph_update_post: follow heads that an artist just changed."""
    if not any(depsgraph.id_type_updated(kind) for kind in ("KEY", "OBJECT", "ARMATURE")):
        return
    carriers = live_avatars(scene)
    if not carriers:
        return
    changed = {update.id.original.session_uid for update in depsgraph.updates}
    _update([item for item in carriers if _sources(item) & changed], depsgraph)


@bpy.app.handlers.persistent
def on_frame_change(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """frame_change_post: follow heads that are animated, in playback and in renders."""
    _update(live_avatars(scene), depsgraph)


@bpy.app.handlers.persistent
def on_load(*_args: object) -> None:
    """load_post: nothing remembered about the old file may be used in the new one."""
    avatar_rig.forget_drivers()


def live_avatars(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """Avatars of the scene that follow their heads."""
    return [item for item in scene.objects if item.blendsplat.kind == "AVATAR" and item.blendsplat.live]


def _sources(carrier: bpy.types.Object) -> set[int]:
    """The data blocks whose change moves the head."""
    head = carrier.blendsplat.head
    if head is None:
        return set()
    found = {head.session_uid, head.data.session_uid}
    if head.data.shape_keys is not None:
        found.add(head.data.shape_keys.session_uid)
    if head.blendsplat.rig is not None:
        found |= {head.blendsplat.rig.session_uid, head.blendsplat.rig.data.session_uid}
    return found


def _update(carriers: list[bpy.types.Object], depsgraph: bpy.types.Depsgraph) -> None:
    global _busy
    if _busy:
        return
    _busy = True
    try:
        for carrier in carriers:
            avatar_rig.update_from_head(carrier, depsgraph)
    finally:
        _busy = False


_HANDLERS = (
    ("depsgraph_update_post", on_depsgraph_update),
    ("frame_change_post", on_frame_change),
    ("load_post", on_load),
)


def register() -> None:
    for name, function in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if function not in handlers:
            handlers.append(function)


def unregister() -> None:
    for name, function in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        if function in handlers:
            handlers.remove(function)
