# SPDX-License-Identifier: GPL-3.0-or-later
"""Faces where Blender shows assets: a shelf below the 3D view whose pictures are buttons, and the Asset Browser, where
a double click puts one on.
"""

from __future__ import annotations

import bpy

from ..scene import face_owners
from .operators import face_posing
from .operators.expressions import ApplyFaceAsset, is_face

_SHELF_CLICKS = (4, 5, 0)  # from here on a click in a shelf runs its operator
_keymap_items: list[tuple[bpy.types.KeyMap, bpy.types.KeyMapItem]] = []


class BLENDSPLAT_AST_faces(bpy.types.AssetShelf):
    """The faces of all asset libraries; a click puts one on."""

    bl_space_type = "VIEW_3D"
    bl_activate_operator = "BLENDSPLAT_OT_apply_face_asset"
    bl_default_preview_size = 96
    bl_options = {"NO_ASSET_DRAG"}
    filter_action = True

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return context.mode == "OBJECT" and face_owners.has_face(face_posing.meant(context)[0])

    @classmethod
    def asset_poll(cls, asset: bpy.types.AssetRepresentation) -> bool:
        return is_face(asset)

    @classmethod
    def draw_context_menu(
        cls, _context: bpy.types.Context, _asset: bpy.types.AssetRepresentation, layout: bpy.types.UILayout
    ) -> None:
        _draw_buttons(layout)


def _draw_buttons(layout: bpy.types.UILayout) -> None:
    layout.operator(ApplyFaceAsset.bl_idname, icon="USER").mirrored = False
    layout.operator(ApplyFaceAsset.bl_idname, text="Mirrored", icon="MOD_MIRROR").mirrored = True


def _in_menu(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    """In the Asset Browser's menu of an asset."""
    asset = getattr(context, "asset", None)
    if asset is not None and is_face(asset):
        _draw_buttons(menu.layout)
        menu.layout.separator()


def register() -> None:
    bpy.utils.register_class(BLENDSPLAT_AST_faces)
    bpy.types.ASSETBROWSER_MT_context_menu.prepend(_in_menu)
    own = bpy.context.window_manager.keyconfigs.addon
    if own is not None:  # none in background
        _add_click(own.keymaps.new("File Browser Main", space_type="FILE_BROWSER"), "DOUBLE_CLICK")
        if bpy.app.version < _SHELF_CLICKS:
            _add_click(own.keymaps.new("Asset Shelf"), "CLICK")


def _add_click(keymap: bpy.types.KeyMap, event: str) -> None:
    _keymap_items.append((keymap, keymap.keymap_items.new(ApplyFaceAsset.bl_idname, "LEFTMOUSE", event)))


def unregister() -> None:
    for keymap, item in _keymap_items:
        keymap.keymap_items.remove(item)
    _keymap_items.clear()
    bpy.types.ASSETBROWSER_MT_context_menu.remove(_in_menu)
    bpy.utils.unregister_class(BLENDSPLAT_AST_faces)
