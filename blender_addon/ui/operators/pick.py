# SPDX-License-Identifier: GPL-3.0-or-later
"""A click on an avatar's splats selects it, as a click on any object's surface does."""

from __future__ import annotations

import bpy
import numpy as np
from bpy.props import BoolProperty
from bpy_extras import view3d_utils

from ...render import picking, viewport


class Pick(bpy.types.Operator):
    """Select the avatar under the mouse; what is nearer, or nothing, is left to Blender's own selection"""

    bl_idname = "blendsplat.pick"
    bl_label = "Select Avatar"
    bl_options = {"REGISTER", "UNDO"}

    toggle: BoolProperty(
        name="Toggle", description="Add the avatar to what is selected, or take it out", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.mode == "OBJECT" and context.region_data is not None and context.area.type == "VIEW_3D"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        mouse = (event.mouse_region_x, event.mouse_region_y)
        found = under(context, mouse)
        if found is None:
            return {"PASS_THROUGH"}
        selected = found.select_get()
        if not self.toggle:
            for item in context.selected_objects:
                item.select_set(False)
        active = context.view_layer.objects.active == found
        found.select_set(not (self.toggle and selected and active))
        context.view_layer.objects.active = found
        return {"FINISHED"}


def under(context: bpy.types.Context, mouse: tuple[float, float]) -> bpy.types.Object | None:
    """The avatar that a view shows at a place (pixels from the region's lower left), before everything else."""
    region, seen = context.region, context.region_data
    view, projection, size = np.array(seen.view_matrix), np.array(seen.window_matrix), (region.width, region.height)
    nearest, found = np.inf, None
    for part in viewport.shown_parts(context):
        distance = picking.distance_at(part.gaussians, view, projection, size, mouse)
        if distance is not None and distance < nearest and not part.place.hide_select:
            nearest, found = distance, part.place
    if found is None:
        return None
    origin = view3d_utils.region_2d_to_origin_3d(region, seen, mouse)
    direction = view3d_utils.region_2d_to_vector_3d(region, seen, mouse)
    hit, place, *_ = context.scene.ray_cast(context.evaluated_depsgraph_get(), origin, direction)
    if hit and -float(view[2, :3] @ np.array(place) + view[2, 3]) < nearest:
        return None
    return found


_keys: list[tuple[bpy.types.KeyMap, bpy.types.KeyMapItem]] = []


def register() -> None:
    bpy.utils.register_class(Pick)
    keymaps = bpy.context.window_manager.keyconfigs.addon
    if keymaps is not None:  # in background there is none
        keymap = keymaps.keymaps.new("3D View", space_type="VIEW_3D")
        for shift in (False, True):
            key = keymap.keymap_items.new(Pick.bl_idname, "LEFTMOUSE", "CLICK", shift=shift)
            key.properties.toggle = shift
            _keys.append((keymap, key))


def unregister() -> None:
    for keymap, key in _keys:
        keymap.keymap_items.remove(key)
    _keys.clear()
    bpy.utils.unregister_class(Pick)
