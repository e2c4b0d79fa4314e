# SPDX-License-Identifier: GPL-3.0-or-later
"""A 3D view in which an artist judges a tracking: through the clip's camera, the head as an overlay on the picture.

All by Blender's own display settings: the head's object colour, wires, the view's shading, and the clip once more in
front, which makes the head transparent without showing its insides. What the view was before is kept on the window's
screen, and the head's on the head, so both can be put back.
"""

from __future__ import annotations

import json
from typing import Any

import bpy

from . import matched_camera

WIRE, SHADED, OFF = "WIRE", "SHADED", "OFF"
_BEFORE = "blendsplat_before"  # custom property: what was there, as JSON
_COLOUR = (0.1, 0.8, 1.0)  # of no skin
_PERSPECTIVE = "region_3d.view_perspective"
_VIEW: dict[str, Any] = {  # place in the 3D view's space: what judging a tracking needs
    "shading.type": "SOLID", "shading.color_type": "OBJECT", "shading.wireframe_color_type": "OBJECT",
    "shading.light": "STUDIO", "shading.show_xray": False, "shading.show_cavity": False, "overlay.show_overlays": True,
    "overlay.show_floor": False, "overlay.show_axis_x": False, "overlay.show_axis_y": False,
    "overlay.show_bones": False, "overlay.show_cursor": False, "overlay.show_relationship_lines": False,
    "overlay.show_extras": False,
    _PERSPECTIVE: "CAMERA",
}  # fmt: skip


def look_through(context: bpy.types.Context, head: bpy.types.Object, camera: bpy.types.Object | None) -> bool:
    """Let the screen's largest 3D view show the head over the clip; False where there is no such view."""
    area = _largest(context.screen)
    if area is None:
        return False
    before = _kept(context.screen)
    number = str(list(context.screen.areas).index(area))
    space = area.spaces.active
    before.setdefault(number, {place: _get(space, place) for place in _VIEW} | {"opacity": _wires(space)})
    context.screen[_BEFORE] = json.dumps(before)
    for place, value in _VIEW.items():
        _set(space, place, value)
    if camera is not None:
        context.scene.camera = camera
    show(head)
    return True


def looks(screen: bpy.types.Screen | None) -> bool:
    """A view of this screen judges a tracking."""
    return screen is not None and bool(_kept(screen))


def put_back(context: bpy.types.Context, *, perspective: bool = True) -> None:
    """Views of this screen, and heads, as they were before; without ``perspective`` they stay in the camera."""
    if context.screen is None:
        return
    areas = context.screen.areas
    for number, settings in _kept(context.screen).items():
        if int(number) >= len(areas) or areas[int(number)].type != "VIEW_3D":
            continue
        space = areas[int(number)].spaces.active
        space.overlay.wireframe_opacity = settings.pop("opacity")
        for place, value in settings.items():
            if perspective or place != _PERSPECTIVE:
                _set(space, place, value)
    if _BEFORE in context.screen:
        del context.screen[_BEFORE]
    for item in context.scene.objects:
        if _BEFORE in item:
            before = json.loads(item[_BEFORE])
            item.color, item.show_wire, item.show_all_edges = before["color"], before["wire"], before["edges"]
            _hide(item, before["hidden"])
            del item[_BEFORE]
            _veil(item, 0.0)


def show(head: bpy.types.Object) -> None:
    """The head as its settings (overlay, overlay_opacity) say, once a view judges it; its avatars hide meanwhile."""
    mode, opacity = head.blendsplat.overlay, head.blendsplat.overlay_opacity
    carriers = [item for item in bpy.context.scene.objects if item.blendsplat.head == head and _is_avatar(item)]
    for item in (head, *carriers):
        if _BEFORE not in item:
            item[_BEFORE] = json.dumps(
                {
                    "color": list(item.color), "wire": item.show_wire, "edges": item.show_all_edges,
                    "hidden": item.hide_get(),
                }
            )  # fmt: skip
        _hide(item, mode == OFF or item != head)
    head.show_wire = head.show_all_edges = mode == WIRE
    head.color = (*_COLOUR, 0.0 if mode == WIRE else 1.0)
    _veil(head, 1.0 - opacity if mode == SHADED else 0.0)
    if mode == WIRE:
        for space in _judging():
            space.overlay.wireframe_opacity = opacity**0.5  # thin lines look weaker than they are


def _is_avatar(item: bpy.types.Object) -> bool:
    return item.blendsplat.kind == "AVATAR"


def _hide(item: bpy.types.Object, hidden: bool) -> None:
    """Hide an object, or show it, where this view layer has it."""
    if item.name in bpy.context.view_layer.objects:
        item.hide_set(hidden)


def renew(head: bpy.types.Object) -> None:
    """Where a view judges the head: its camera is a new one."""
    if _BEFORE in head:
        show(head)


def _veil(head: bpy.types.Object, alpha: float) -> None:
    camera = matched_camera.camera_of(head)
    if camera is not None:
        matched_camera.veil(camera.data, alpha)


def show_bones(screen: bpy.types.Screen | None) -> None:
    """In the views that judge a tracking: the bones by which it is corrected."""
    if screen is not None:
        for space in _judging():
            space.overlay.show_bones = True


def overlay_changed(item: Any, _context: bpy.types.Context) -> None:
    """Update function of the settings on an object."""
    renew(item.id_data)


def _judging() -> list[bpy.types.SpaceView3D]:
    """The views that were changed for it."""
    return [
        screen.areas[int(number)].spaces.active for screen in bpy.data.screens for number in _kept(screen)
        if int(number) < len(screen.areas) and screen.areas[int(number)].type == "VIEW_3D"
    ]  # fmt: skip


def _kept(screen: bpy.types.Screen) -> dict[str, dict[str, Any]]:
    """By number of the screen's area: what was there before."""
    return dict(json.loads(screen.get(_BEFORE, "{}")))


def _largest(screen: bpy.types.Screen | None) -> bpy.types.Area | None:
    areas = [area for area in screen.areas if area.type == "VIEW_3D"] if screen is not None else []
    return max(areas, key=lambda area: area.width * area.height, default=None)


def _wires(space: bpy.types.SpaceView3D) -> float:
    return float(space.overlay.wireframe_opacity)


def _get(space: bpy.types.SpaceView3D, place: str) -> Any:
    owner, _, name = place.partition(".")
    return getattr(getattr(space, owner), name)


def _set(space: bpy.types.SpaceView3D, place: str, value: Any) -> None:
    owner, _, name = place.partition(".")
    setattr(getattr(space, owner), name, value)
