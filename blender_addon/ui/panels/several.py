# SPDX-License-Identifier: GPL-3.0-or-later
"""In the steps Avatar and Render: which avatar is meant, of several or linked ones; packing and exports."""

from __future__ import annotations

import bpy

from ...scene import duplicate_avatar, linked, packed_avatar
from ..operators import avatar as avatar_operators
from .job_button import button
from .layout import paragraph

_ROWS = 12  # of the list


def draw(context: bpy.types.Context, column: bpy.types.UILayout, carrier: bpy.types.Object) -> None:
    """The selected avatar, or a list of all with the selected one marked; what to do about a linked one."""
    avatars = avatar_operators.avatars(context.scene)
    if len(avatars) == 1:
        row = column.row(align=True)
        row.label(text=carrier.name, icon=_icon(carrier))
        row.operator("blendsplat.duplicate_avatar", text="", icon="DUPLICATE")
    else:
        _list(column, avatars, carrier)
    sentence = linked.sentence(carrier) or linked.instancer_sentence(context.view_layer.objects.active)
    if sentence:
        paragraph(context, column, sentence, "LIBRARY_DATA_DIRECT")
        button(context, column, "blendsplat.override_avatar", "LIBRARY_DATA_OVERRIDE")
    if sentence := duplicate_avatar.shared_sentence(carrier):
        paragraph(context, column, sentence, "LINKED")


def draw_unselected(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """What an empty shows that is all there is of a linked avatar."""
    if sentence := linked.instancer_sentence(context.view_layer.objects.active):
        paragraph(context, column, sentence, "LIBRARY_DATA_DIRECT")
        button(context, column, "blendsplat.override_avatar", "LIBRARY_DATA_OVERRIDE")


def draw_packing(column: bpy.types.UILayout, carrier: bpy.types.Object) -> None:
    """Whether the file that the networks are in lies in the .blend."""
    if packed_avatar.is_packed(carrier):
        size = packed_avatar.size_of(carrier) / 1e6
        column.operator("blendsplat.unpack_avatar", text=f"Unpack Avatar ({size:.1f} MB)", icon="PACKAGE")
    else:
        column.operator("blendsplat.pack_avatar", icon="UGLYPACKAGE")


def draw_exports(column: bpy.types.UILayout) -> None:
    """What leaves Blender: this frame, many frames, the head."""
    grid = column.column(align=True)
    row = grid.row(align=True)
    row.operator("blendsplat.export_ply", text="Splat PLY", icon="EXPORT")
    row.operator("blendsplat.export_ply_sequence", text="PLY Sequence")
    row = grid.row(align=True)
    row.operator("blendsplat.export_usd", text="USD Points")
    row.operator("blendsplat.export_head_animation", text="Head as GLB")


def _list(column: bpy.types.UILayout, avatars: list[bpy.types.Object], carrier: bpy.types.Object) -> None:
    """Avatars in This Scene: select, hide, hide in renders."""
    header = column.row(align=True)
    header.label(text="Avatars in This Scene")
    header.operator("blendsplat.duplicate_avatar", text="", icon="DUPLICATE")
    box = column.box().column(align=True)
    first = max(0, min(avatars.index(carrier) - _ROWS // 2, len(avatars) - _ROWS))
    for item in avatars[first : first + _ROWS]:
        row = box.row(align=True)
        name = row.row(align=True)
        name.alignment = "LEFT"
        chosen = item == carrier
        name.operator(
            "blendsplat.select_avatar", text=item.name, icon="RADIOBUT_ON" if chosen else "RADIOBUT_OFF", emboss=False
        ).name = item.name
        aside = row.row(align=True)
        aside.alignment = "RIGHT"
        if item.blendsplat.live:
            aside.label(text="Live")
        if item.library is not None or item.override_library is not None:
            aside.label(text="", icon=_icon(item))
        aside.prop(item, "hide_viewport", text="", emboss=False)
        aside.prop(item, "hide_render", text="", emboss=False)
    if len(avatars) > _ROWS:
        box.label(text=f"... {len(avatars)} avatars in all")
    path = packed_avatar.own_path(carrier)
    if path is not None:
        file = column.row()
        file.active = False
        file.label(text=path.name, icon="FILE")


def _icon(carrier: bpy.types.Object) -> str:
    if carrier.library is not None:
        return "LIBRARY_DATA_DIRECT"
    return "LIBRARY_DATA_OVERRIDE" if carrier.override_library is not None else "OUTLINER_OB_POINTCLOUD"
