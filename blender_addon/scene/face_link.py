# SPDX-License-Identifier: GPL-3.0-or-later
"""Linked sides: while a head's link is on, a slider that a hand moves takes its other side along.

Blender tells that something changed, not what; so numbers are compared with those of the last time. What curves and
drivers do is no hand: after a change of frame and after undo the numbers are only read again, a side that its curve or
a driver moves leads nobody, and a driven side does not follow. Where both sides changed at once (a pose was mirrored,
pasted or loaded) both are meant.
"""

from __future__ import annotations

import bpy

from . import face_controls, handlers

_known: dict[int, dict[str, float]] = {}  # by head (session_uid): the numbers of what has another side
_SAME = 1e-6
_ON_CURVE = 1e-5
_busy = False


def read(head: bpy.types.Object) -> None:
    """Take the head's numbers as they are: what was done to them needs no other side."""
    _known[head.session_uid] = _numbers(head, face_controls.of(head))


def follow(head: bpy.types.Object) -> list[str]:
    """Let the other side follow what changed since the last time -> the names of what followed."""
    controls = face_controls.of(head)
    now, before = _numbers(head, controls), _known.get(head.session_uid)
    _known[head.session_uid] = now
    if before is None:
        return []
    changed = {name for name, number in now.items() if abs(number - before.get(name, number)) > _SAME}
    leaders = [controls[name] for name in changed if controls[name].linked[0] not in changed]
    if not leaders:
        return []
    free = {control.name for control in face_controls.free(head, controls.values())}
    free -= _moved_by_curves(head, leaders, now)
    moved = [control for control in leaders if {control.name, control.linked[0]} <= free]
    for control in moved:
        name, sign = control.linked
        face_controls.put(head, controls[name], sign * now[control.name])
    followers = [controls[control.linked[0]] for control in moved]
    if followers and _keys_itself():
        face_controls.insert_keys(head, followers, bpy.context.scene.frame_current)
    _known[head.session_uid] = _numbers(head, controls)
    return [control.name for control in followers]


def toggled(settings: bpy.types.PropertyGroup, _context: bpy.types.Context) -> None:
    """The link was switched: nothing moves by that alone."""
    _known.pop(settings.id_data.session_uid, None)
    if settings.link:
        read(settings.id_data)


@bpy.app.handlers.persistent
def on_depsgraph_update(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """depsgraph_update_post: a hand moved something."""
    global _busy
    if _busy or not any(depsgraph.id_type_updated(kind) for kind in ("KEY", "OBJECT")):
        return
    _busy = True
    try:
        for head in _linked(scene):
            follow(head)
    finally:
        _busy = False


@bpy.app.handlers.persistent
def on_other_change(*_args: object) -> None:
    """frame_change_post, undo_post, redo_post, load_post: curves or the past moved it."""
    for scene in bpy.data.scenes:
        for head in _linked(scene):
            read(head)


def _linked(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    return [
        item for item in scene.objects
        if item.blendsplat.kind == "HEAD" and item.blendsplat.face.link and not face_controls.locked(item)
    ]  # fmt: skip


def _numbers(head: bpy.types.Object, controls: dict[str, face_controls.Control]) -> dict[str, float]:
    return {name: face_controls.value(head, control) for name, control in controls.items() if control.linked[0]}


def _moved_by_curves(head: bpy.types.Object, controls: list[face_controls.Control], now: dict[str, float]) -> set[str]:
    """Those that are where their curves put them: a key was edited. With Auto Keying a hand's work is in the curve at
    once, so nobody can tell."""
    if _keys_itself():
        return set()
    curves, frame = face_controls.curves(head), bpy.context.scene.frame_current_final
    found = set()
    for control in controls:
        curve = curves.get((control.owner, control.path, control.index))
        if curve is not None and not curve.mute and abs(curve.evaluate(frame) - now[control.name]) < _ON_CURVE:
            found.add(control.name)
    return found


def _keys_itself() -> bool:
    """Auto Keying is on: what the hand moved gets a key, and so does what followed."""
    return bpy.context.scene.tool_settings.use_keyframe_insert_auto


_HANDLERS = (
    ("depsgraph_update_post", on_depsgraph_update), ("frame_change_post", on_other_change),
    ("undo_post", on_other_change), ("redo_post", on_other_change), ("load_post", on_other_change),
)  # fmt: skip


def register() -> None:
    handlers.add(_HANDLERS)


def unregister() -> None:
    handlers.remove(_HANDLERS)
    _known.clear()
