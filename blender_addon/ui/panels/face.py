# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel "Face": a head's sliders and bones by parts of the face, and what is done with them."""

from __future__ import annotations

import bpy

from ...scene import bone_shapes, control_board, eye_target, face_controls, face_words, seen_ranges
from .. import face_properties
from ..operators import face
from .layout import Panel, paragraph

_OPEN = ("brows", "lids", "jaw", "mouth")  # parts that begin unfolded
_MOVED = 1e-3
_NAMES = 0.44  # of a row of two sides, for its name
_BEYOND = "Red sliders go farther than the clip ever did."
_WIDE = 300  # pixels of a sidebar in which there is room for a dot beside each slider


class BLENDSPLAT_PT_face(Panel):
    bl_label = "Face"
    bl_order = 20

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return face.meant_head(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        head = face.meant_head(context)
        column = self.layout.column()
        column.label(text=head.name, icon="USER", translate=False)
        if sentence := face_controls.locked(head):
            paragraph(context, column, sentence, "ERROR")
        _all(context, column, head)
        if any(_is_beyond(head, control) for control in face_controls.of(head).values()):
            paragraph(context, column, _BEYOND, "INFO")
        draw_parts(context, self.layout, head)
        _rig(context, self.layout, head)


def draw_parts(context: bpy.types.Context, layout: bpy.types.UILayout, head: bpy.types.Object) -> None:
    """The head's controls: favourites and all parts, which fold; with words to find, those that bear them.

    ``layout``: a panel's own."""
    controls = face_controls.of(head)
    rows = _Rows(context, head, face_properties.favourites(head))
    if query := context.window_manager.blendsplat_search.strip():
        found = [item for item in controls.values() if _bears(item, query)]
        if not found:
            paragraph(context, layout.column(), "No slider has these words in its name.", "INFO")
        rows.draw(layout.column(align=True), found, short=False)
        return
    if starred := [controls[name] for name in rows.favourites if name in controls]:
        _part(layout, rows, "favourites", "Favourites", starred, open_=True)
    for group, members in face_controls.in_groups(controls.values()).items():
        _part(layout, rows, group or "more", face_words.TITLES[group], members, open_=group in _OPEN)


class _Rows:
    """Draws controls of one head, both sides of a thing in one row."""

    def __init__(self, context: bpy.types.Context, head: bpy.types.Object, favourites: list[str]) -> None:
        self.head, self.favourites = head, favourites
        scale = context.preferences.system.ui_scale
        self.wide = context.region is not None and context.region.width > _WIDE * scale
        self.usable = not face_controls.locked(head)
        self.state = face_controls.keyed_at(head, context.scene.frame_current)

    def draw(self, column: bpy.types.UILayout, controls: list[face_controls.Control], short: bool = True) -> None:
        names, done = {control.name: control for control in controls}, set()
        column.use_property_split = column.use_property_decorate = False
        for control in controls:
            if control.name in done:
                continue
            other = names.get(control.mirrored[0]) if control.linked[0] else None
            pair = [control] if other is None or other == control else [control, other]
            done.update(item.name for item in pair)
            self._row(column.row(align=True), pair, short)

    def _row(self, row: bpy.types.UILayout, pair: list[face_controls.Control], short: bool) -> None:
        sliders = row.row(align=True)
        sliders.enabled = self.usable
        if len(pair) == 2:
            sliders = sliders.split(factor=_NAMES, align=True)
            sliders.label(text=_both(pair[0].label if short else pair[0].full), translate=False)
            sliders = sliders.row(align=True)
        for control in pair:
            text = control.label if short else control.full
            self._slider(sliders.row(align=True), control, text if len(pair) == 1 else "")
        starred = all(control.name in self.favourites for control in pair)
        star = row.operator(
            "blendsplat.face_favourite", text="", icon="SOLO_ON" if starred else "SOLO_OFF", emboss=False
        )
        star.name = "|".join(control.name for control in pair)

    def _slider(self, cell: bpy.types.UILayout, control: face_controls.Control, text: str) -> None:
        struct, name = face_controls.place(self.head, control)
        cell.active = not getattr(struct, "mute", False)
        cell.alert = _is_beyond(self.head, control)
        index = control.index if control.bone else -1
        cell.prop(struct, name, index=index, text=text, slider=not control.bone, translate=False)
        if self.wide:
            cell.prop_decorator(struct, name, index=index)


def _both(label: str) -> str:
    """The name of two sides, in the order in which they stand: "Smile L" -> "Smile L R"."""
    return f"{label} R" if label.endswith("L") else f"{label} L"


def _is_beyond(head: bpy.types.Object, control: face_controls.Control) -> bool:
    return not control.bone and seen_ranges.is_beyond(head, control.name, face_controls.value(head, control))


def _bears(control: face_controls.Control, query: str) -> bool:
    return face_words.found(query, control.name, control.full, face_words.TITLES[control.group])


def _all(context: bpy.types.Context, column: bpy.types.UILayout, head: bpy.types.Object) -> None:
    """What goes for the whole face."""
    column.prop(context.window_manager, "blendsplat_search", text="", icon="VIEWZOOM")
    row = column.row(align=True)
    row.prop(head.blendsplat.face, "link", toggle=True, icon="LINKED" if head.blendsplat.face.link else "UNLINKED")
    row.operator("blendsplat.face_mirror", text="Mirror", icon="MOD_MIRROR").group = "ALL"
    row = column.row(align=True)
    row.operator("blendsplat.face_key", text="Key All", icon="KEY_HLT").group = "ALL"
    row.operator("blendsplat.face_reset", text="Reset All", icon="LOOP_BACK").group = "ALL"


def _part(
    layout: bpy.types.UILayout, rows: _Rows, name: str, title: str, controls: list[face_controls.Control], *,
    open_: bool,
) -> None:  # fmt: skip
    header, body = layout.panel(f"BLENDSPLAT_face_{name}", default_closed=not open_)
    header.label(text=title)
    moved = sum(abs(face_controls.value(rows.head, control)) > _MOVED for control in controls)
    if moved:
        count = header.row()
        count.alignment, count.active = "RIGHT", False
        count.label(text=f"{moved} ")
    buttons = header.row(align=True)
    buttons.alignment = "RIGHT"
    states = {rows.state(control) for control in controls}
    keyed = "DECORATE_KEYFRAME" if "keyed" in states else "DECORATE_ANIMATE" if "animated" in states else "DECORATE"
    for operator, icon in (("mirror", "MOD_MIRROR"), ("reset", "LOOP_BACK"), ("key", keyed)):
        buttons.operator(f"blendsplat.face_{operator}", text="", icon=icon, emboss=False).group = name.upper()
    if body is not None:
        rows.draw(body.column(align=True), controls)


def _rig(context: bpy.types.Context, layout: bpy.types.UILayout, head: bpy.types.Object) -> None:
    """Bones, eye target and board."""
    header, body = layout.panel("BLENDSPLAT_face_rig", default_closed=False)
    header.label(text="Handles")
    if body is None:
        return
    column, rig = body.column(), head.blendsplat.rig
    if rig is not None:
        posing = context.mode == "POSE"
        column.operator("blendsplat.pose_face", icon="POSE_HLT", depress=posing)
    target = eye_target.target_of(head)
    if target is not None:
        row = column.row(align=True)
        row.prop(target, eye_target.LOOK_PATH, text="Look at the Target", slider=True)
        row.prop_decorator(target, eye_target.LOOK_PATH)
        column.operator("blendsplat.remove_eye_target", icon="X")
    else:
        column.operator("blendsplat.add_eye_target", icon="TRACKER")
    if control_board.is_there(head):
        column.operator("blendsplat.remove_control_board", icon="X")
    else:
        column.operator("blendsplat.add_control_board", icon="VIEW_PAN")
    if rig is None:
        return
    if not bone_shapes.is_dressed(head):
        column.operator("blendsplat.shape_bones", icon="BONE_DATA")
    if context.space_data is not None and context.space_data.type == "VIEW_3D":
        column.prop(context.space_data.overlay, "show_bones")
    turning = [item.name for item in rig.pose.bones if item.rotation_mode in ("QUATERNION", "AXIS_ANGLE")]
    if turning:
        paragraph(context, column, f"Turned by quaternions, so without sliders here: {', '.join(turning)}.", "INFO")


CLASSES = (BLENDSPLAT_PT_face,)
