# SPDX-License-Identifier: GPL-3.0-or-later
"""Live: while it is on, an avatar's blendshapes follow its head's sliders and bones at once, through the network.

Handlers run after Blender's own evaluation; they act only when the head changed, so they never chase their own changes.
Baked curves are muted meanwhile, but never in a saved file: there they play without this add-on.
"""

from __future__ import annotations

import bpy

from . import avatar_rig, handlers, keyframes, learned_keys

_busy = False


def toggled(item: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """Live was switched: its keys cannot follow both the head and baked curves, so the curves are muted meanwhile."""
    carrier = item.id_data
    if item.kind != "AVATAR" or carrier.data.shape_keys is None:
        return
    if carrier.library is None and carrier.data.library is None:
        keyframes.make_local(carrier.data.shape_keys)  # others may play the linked action
    _mute_baked(carrier, item.live)
    if item.live:
        _update([carrier], context.evaluated_depsgraph_get())


def held(item: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """The hold was moved: what Live shows follows at once."""
    carrier = item.id_data
    if item.kind == "AVATAR" and item.live and carrier.data is not None and carrier.data.shape_keys is not None:
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
def on_frame_begin(scene: bpy.types.Scene, *_args: object) -> None:
    """frame_change_pre: what the head's curves say. Where that comes true, nothing changes behind Blender's evaluation,
    which else is done twice: with the last frame's weights, and with its own."""
    for carrier in live_avatars(scene):
        avatar_rig.foresee(carrier, scene.frame_current_final)


@bpy.app.handlers.persistent
def on_frame_change(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """frame_change_post: follow heads that are animated, in playback and in renders."""
    _update(live_avatars(scene), depsgraph)


@bpy.app.handlers.persistent
def on_save(*_args: object) -> None:
    """save_pre: what is saved plays without this add-on."""
    for carrier in _all_live():
        _mute_baked(carrier, False)


@bpy.app.handlers.persistent
def on_saved(*_args: object) -> None:
    """save_post, save_post_fail, load_post: Live goes on."""
    for carrier in _all_live():
        _mute_baked(carrier, True)


def _all_live() -> list[bpy.types.Object]:
    """Live avatars of every scene of this file, those of linked libraries excepted."""
    return [
        item for item in bpy.data.objects
        if item.library is None and item.blendsplat.kind == "AVATAR" and item.blendsplat.live
        and item.data.library is None and item.data.shape_keys is not None
    ]  # fmt: skip


def _mute_baked(carrier: bpy.types.Object, muted: bool) -> None:
    if carrier.data.shape_keys is None:
        return
    paths = {learned_keys.value_path(key) for key in avatar_rig.blendshape_keys(carrier)}
    for curve in keyframes.played(carrier.data.shape_keys):
        if curve.data_path in paths and curve.mute != muted and curve.id_data.library is None:
            curve.mute = muted


def live_avatars(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """Avatars of the scene that follow their heads. Linked ones play what their own file baked."""
    return [
        item for item in scene.objects
        if item.blendsplat.kind == "AVATAR" and item.blendsplat.live and item.library is None
        and item.data.library is None
    ]  # fmt: skip


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
            _mute_baked(carrier, True)  # also what was baked while Live was on, and when the add-on was off meanwhile
            avatar_rig.update_from_head(carrier, depsgraph)
    finally:
        _busy = False


_HANDLERS = (
    ("depsgraph_update_post", on_depsgraph_update),
    ("frame_change_pre", on_frame_begin),
    ("frame_change_post", on_frame_change),
    ("save_pre", on_save),
    ("save_post", on_saved),
    ("save_post_fail", on_saved),
    ("load_post", on_saved),
)


def register() -> None:
    handlers.add(_HANDLERS)


def unregister() -> None:
    handlers.remove(_HANDLERS)
