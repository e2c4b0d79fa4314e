# SPDX-License-Identifier: GPL-3.0-or-later
"""The learned keys of an avatar: what each does, how far the clip went, solo and mute; and the slider of the hold."""

from __future__ import annotations

import bpy

from ...client import preview
from ...scene import avatar_rig, held_avatar, key_preview, learned_keys
from ..operators import avatar as avatar_operators
from .job_button import step
from .layout import Panel, paragraph

_ROWS = 8
_LEGEND = "Far below and at the clip's mean; far above it, and where these differ"


class BLENDSPLAT_UL_learned_keys(bpy.types.UIList):
    """Learned keys alone, the one that does most first."""

    bl_idname = "BLENDSPLAT_UL_learned_keys"

    def draw_item(self, _context, layout, data, item, _icon, _active, _property, index=0, _flag=0) -> None:
        carrier = _carrier_of(data)
        place = next((one for one, key in learned_keys.found(carrier).items() if key == item), 0) if carrier else 0
        row = layout.split(factor=0.66, align=True)
        row.active = not item.mute
        row.prop(item, "name", text="", emboss=False)
        row.prop(item, "value", text="", slider=True)
        heard = carrier is not None and key_preview.soloed(carrier) == place
        solo = layout.operator("blendsplat.solo_key", text="", icon="SOLO_ON" if heard else "SOLO_OFF", emboss=False)
        solo.index = place
        layout.prop(item, "mute", text="", emboss=False)

    def filter_items(self, _context, data, name) -> tuple[list[int], list[int]]:
        carrier = _carrier_of(data)
        blocks = getattr(data, name)
        mine = {key.name for key in learned_keys.found(carrier).values()} if carrier is not None else set()
        wanted = self.filter_name.lower()
        flags = [self.bitflag_filter_item if key.name in mine and wanted in key.name.lower() else 0 for key in blocks]
        shares = key_preview.shares(carrier) if carrier is not None else {}
        order = (
            {key.name: shares.get(index, 0.0) for index, key in learned_keys.found(carrier).items()} if shares else {}
        )
        ranked = sorted(range(len(blocks)), key=lambda row: -order.get(blocks[row].name, 0.0)) if order else []
        places = [0] * len(ranked)
        for place, row in enumerate(ranked):
            places[row] = place
        return flags, places


class BLENDSPLAT_PT_learned_keys(Panel):
    bl_label = "Learned Keys"
    bl_order = 20
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        carrier = avatar_operators.selected_avatar(context)
        return carrier is not None and carrier.data is not None and bool(avatar_rig.blendshape_keys(carrier))

    def draw(self, context: bpy.types.Context) -> None:
        carrier, column = avatar_operators.selected_avatar(context), self.column()
        step(context, column, "keys", "blendsplat.preview_keys", "VIEWZOOM")
        keys = carrier.data.shape_keys
        column.template_list(
            BLENDSPLAT_UL_learned_keys.bl_idname, "", keys, "key_blocks", carrier, "active_shape_key_index", rows=_ROWS
        )
        _active(context, column, carrier)


def draw_hold(context: bpy.types.Context, column: bpy.types.UILayout, carrier: bpy.types.Object) -> None:
    """The hold's slider, and why it does nothing where that is so."""
    column.prop(carrier.blendsplat, "hold_back", slider=True)
    network = avatar_rig.network_of(carrier)
    if sentence := held_avatar.sentence(carrier, network is not None and network.seen is not None):
        paragraph(context, column, sentence, "INFO")


def _active(context: bpy.types.Context, column: bpy.types.UILayout, carrier: bpy.types.Object) -> None:
    """The chosen key's picture and how far the clip went."""
    chosen = carrier.active_shape_key
    place = next((one for one, key in learned_keys.found(carrier).items() if key == chosen), None)
    if place is None:
        return
    ends = learned_keys.seen_ends(carrier, place)
    words = f"The clip went from {ends[0]:.2f} to {ends[1]:.2f}" if ends else "How far the clip went is not known"
    column.label(text=words, icon="BLANK1")
    path = key_preview.picture_of(carrier, place)
    if path is not None and (icon := preview.picture(path)):
        column.template_icon(icon_value=icon, scale=12.0)
        paragraph(context, column, _LEGEND, "BLANK1")
    if key_preview.sheet_of(carrier) is not None:
        column.operator("blendsplat.show_keys", icon="IMAGE_DATA")


def _carrier_of(keys: bpy.types.Key) -> bpy.types.Object | None:
    """The avatar whose shape keys these are: the one that is meant now."""
    carrier = avatar_operators.selected_avatar(bpy.context)
    return carrier if carrier is not None and carrier.data.shape_keys == keys else None


CLASSES = (BLENDSPLAT_UL_learned_keys, BLENDSPLAT_PT_learned_keys)
