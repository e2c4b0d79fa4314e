# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel for what is done with a face's keyframes and poses: copy and paste, expressions, cleaning, layers."""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from ...client import session
from ...scene import expression_assets, expressions, face_owners, layers
from .. import face_pictures
from ..operators import expressions as expression_operators
from ..operators import face_posing
from .job_button import button
from .layout import Panel, column_of, paragraph, progress, section

_IN_A_ROW = 3


class BLENDSPLAT_PT_keys(Panel):
    bl_label = "Expressions and Keys"
    bl_order = 2
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return face_owners.has_face(face_posing.meant(context)[0])

    def draw(self, context: bpy.types.Context) -> None:
        head, carrier = face_posing.meant(context)
        if not face_owners.has_face(head):
            return
        column = self.column()
        column.label(text=(carrier or head).name, icon="USER")
        row = column.row(align=True)
        row.operator("blendsplat.copy_face", text="Copy", icon="COPYDOWN")
        row.operator("blendsplat.paste_face", text="Paste", icon="PASTEDOWN").mirrored = False
        row.operator("blendsplat.paste_face", text="Mirrored", icon="PASTEFLIPDOWN").mirrored = True
        if (part := section(self.layout, "expressions", "Expressions")) is not None:
            _expressions(context, part, head)
        if (part := section(self.layout, "keyframes", "Keyframes", closed=True)) is not None:
            column = column_of(part)
            button(context, column, "blendsplat.bake_head", "REC")
            button(context, column, "blendsplat.clean_keys", "KEY_DEHLT")
            button(context, column, "blendsplat.mirror_performance", "MOD_MIRROR")
        if (part := section(self.layout, "layers", "Layers", closed=True)) is not None:
            _layers(context, column_of(part), head)


def _expressions(context: bpy.types.Context, layout: bpy.types.UILayout, head: bpy.types.Object) -> None:
    column, posing = column_of(layout), context.scene.blendsplat.posing
    column.prop(posing, "blend", slider=True)
    column.prop(posing, "key")
    if sentence := expression_operators.no_expressions(head):
        paragraph(context, column, sentence, "INFO")
    else:
        shipped = expressions.shipped().values()
        _grid(context, column, [one.name for one in shipped if one.kind == expressions.EXPRESSION])
        column.label(text="Mouth Shapes")
        _grid(context, column, [one.name for one in shipped if one.kind == expressions.VISEME], 5)
    saved = expression_assets.saved(expression_operators.owner_of(context))
    if saved:
        column.label(text="Saved")
    for action in saved:
        chosen = column.operator("blendsplat.apply_face", text=action.name, icon="USER", translate=False)
        chosen.action, chosen.strength, chosen.key = action.name, posing.blend, posing.key
    column.separator()
    button(context, column, "blendsplat.save_expression", "ADD")
    _library(context, column)
    if hasattr(context.space_data, "show_region_asset_shelf"):
        shown = context.space_data.show_region_asset_shelf
        icon = "HIDE_OFF" if shown else "HIDE_ON"
        row = column.row()
        row.use_property_split = False
        row.prop(context.space_data, "show_region_asset_shelf", text="Faces in the View", toggle=True, icon=icon)


def _grid(context: bpy.types.Context, column: bpy.types.UILayout, names: Sequence[str], wide: int = _IN_A_ROW) -> None:
    """Expressions as buttons, so many in a row."""
    posing, rows = context.scene.blendsplat.posing, column.column(align=True)
    for first in range(0, len(names), wide):
        row = rows.row(align=True)
        for name in names[first : first + wide]:
            chosen = row.operator("blendsplat.apply_expression", text=name)
            chosen.expression, chosen.strength, chosen.key = name, posing.blend, posing.key


def _library(context: bpy.types.Context, column: bpy.types.UILayout) -> None:
    """The button that makes assets of all expressions, and how far their pictures are."""
    series = face_pictures.latest(context.scene)
    if series is None or series.ended:
        button(context, column, "blendsplat.make_expression_library", "ASSET_MANAGER")
        if series is not None and series.sentence:
            paragraph(context, column, series.sentence, "ERROR" if session.errand(face_pictures.TOPIC) else "INFO")
        return
    progress(column, series.fraction, f"Face {series.done + 1} of {len(series.faces)}")
    column.operator("blendsplat.cancel_face_pictures", text="Cancel", icon="X")


def _layers(context: bpy.types.Context, column: bpy.types.UILayout, head: bpy.types.Object) -> None:
    """The layer that is keyed now, and how much it counts."""
    for owner in face_owners.owners(head):
        name = layers.layer_of(owner)
        if name:
            what = "Sliders" if isinstance(owner, bpy.types.Key) else "Bones"
            if what == "Sliders":
                column.label(text=f"New keys go to {name}", icon="NLA")
            column.prop(owner.animation_data, "action_influence", text=what, slider=True)
    button(context, column, "blendsplat.add_layer", "ADD")
    button(context, column, "blendsplat.as_strip", "NLA")


CLASSES = (BLENDSPLAT_PT_keys,)
