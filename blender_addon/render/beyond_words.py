# SPDX-License-Identifier: GPL-3.0-or-later
"""A line in the corner of 3D views while an avatar does, or is looked at from where, its clip never showed it.

Drawn with Blender's own text overlays (Overlays, Text Info), so that these switch it off. What a head does is read when
something has changed, and where it is seen from with every redraw.
"""

from __future__ import annotations

import math

import blf
import bpy
import numpy as np
from mathutils import Matrix

from ..scene import arkit, avatar_rig, coverage, handlers, head_rig, seen_ranges
from ..scene.weight_network import HeadState
from ..space import TO_BLENDER

_LISTED = 3
_SIZE, _LEFT, _BOTTOM, _LINE = 12, 16, 18, 18  # pixels at a scale of 1
_BONES = {"eye.L": "left eye", "eye.R": "right eye"}
_COLOR = (1.0, 0.72, 0.25, 1.0)
_handle: object | None = None
_known: dict[int, tuple[HeadState, list[str]]] = {}  # by the avatar's session_uid, until something changes


def sentences(carrier: bpy.types.Object, depsgraph: bpy.types.Depsgraph, view: np.ndarray, flat: bool) -> list[str]:
    """What is to be said of an avatar that is seen through ``view`` (world to view, [4,4]; flat: without perspective),
    a line each; [] while all is as its clip showed it."""
    head = carrier.blendsplat.head
    if head is None or head.data is None or not avatar_rig.can_follow(carrier) or not seen_ranges.known(head):
        return []
    state, beyond = _of(carrier, head, depsgraph)
    found = []
    if beyond:
        more = f" and {len(beyond) - _LISTED} more" if len(beyond) > _LISTED else ""
        named = ", ".join(map(plain, beyond[:_LISTED]))
        found.append(f"{carrier.name}: beyond what the clip showed ({named}{more})")
    if seen_ranges.view_unseen(head, *angles(carrier, depsgraph, state, view, flat)):
        found.append(f"{carrier.name}: seen from where the clip never showed it")
    return found


def plain(name: str) -> str:
    """A slider's or a bone's name as words: "smile left", "left eye"."""
    if name in _BONES:
        return _BONES[name]
    side = next((side for side in arkit.SIDES if name.endswith(side) and name in arkit.NAMES), "")
    stem = name.removesuffix(side)
    if name not in arkit.NAMES or stem in ("jaw", "mouth"):  # these two go to a side as a whole
        return coverage.plain(name) if name in arkit.NAMES else name
    return f"{coverage.plain(stem)} {side.lower()}".strip()


def angles(
    carrier: bpy.types.Object, depsgraph: bpy.types.Depsgraph, state: HeadState, view: np.ndarray, flat: bool
) -> tuple[float, float]:
    """Yaw and pitch in degrees of the viewer as the head sees it, as scene/coverage.py counts them."""
    handle = avatar_rig.handle_of(carrier) or carrier
    place = np.array(Matrix(np.asarray(view).tolist()).inverted_safe())
    own = np.array(handle.evaluated_get(depsgraph).matrix_world.inverted_safe()) @ place
    towards = TO_BLENDER.T @ own[:3, 2 if flat else 3]  # flat: a view looks along its own -z
    if not flat:
        towards = towards - state.translation[0]
    seen = (state.root[0] @ state.neck[0]).T @ towards
    seen = seen / max(float(np.linalg.norm(seen)), 1e-9)
    return math.degrees(math.atan2(seen[0], seen[2])), math.degrees(math.asin(float(np.clip(seen[1], -1, 1))))


def _of(
    carrier: bpy.types.Object, head: bpy.types.Object, depsgraph: bpy.types.Depsgraph
) -> tuple[HeadState, list[str]]:
    known = _known.get(carrier.session_uid)
    if known is None:
        state = head_rig.head_state(head, depsgraph)
        known = _known[carrier.session_uid] = (state, seen_ranges.beyond(head, state))
    return known


def _draw() -> None:
    """The draw handler: lines at the lower left, the first avatar's lowest."""
    context = bpy.context
    space, seen = context.space_data, context.region_data
    if space is None or seen is None or not (space.overlay.show_overlays and space.overlay.show_text):
        return
    depsgraph, lines = context.evaluated_depsgraph_get(), []
    flat = not seen.is_perspective
    for item in context.view_layer.objects:
        if item.blendsplat.kind == "AVATAR" and item.visible_in_viewport_get(space):
            lines += sentences(item, depsgraph, np.array(seen.view_matrix), flat)
    if lines:
        _write(context, lines)


def _write(context: bpy.types.Context, lines: list[str]) -> None:
    scale = context.preferences.system.ui_scale
    tools = next((item.width for item in context.area.regions if item.type == "TOOLS" and item.width > 1), 0)
    left = _LEFT * scale + (tools if context.preferences.system.use_region_overlap else 0)
    blf.size(0, _SIZE * scale)
    blf.color(0, *_COLOR)
    blf.enable(0, blf.SHADOW)
    blf.shadow(0, 3, 0.0, 0.0, 0.0, 0.8)
    for row, line in enumerate(lines):
        blf.position(0, left, (_BOTTOM + row * _LINE) * scale, 0)
        blf.draw(0, line)
    blf.disable(0, blf.SHADOW)


@bpy.app.handlers.persistent
def _changed(*_: object) -> None:
    _known.clear()


_HANDLERS = tuple(
    (name, _changed) for name in ("depsgraph_update_post", "frame_change_post", "undo_post", "redo_post", "load_post")
)


def register() -> None:
    global _handle
    handlers.add(_HANDLERS)
    if not bpy.app.background:
        _handle = bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_PIXEL")


def unregister() -> None:
    global _handle
    handlers.remove(_HANDLERS)
    if _handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
        _handle = None
    _known.clear()
