# SPDX-License-Identifier: GPL-3.0-or-later
"""What panels are laid out with: the base classes, a bar of progress, wrapped sentences, sliders of a head's shape."""

from __future__ import annotations

import textwrap

import bpy

from ...scene import head_drivers
from .. import step_state


class Panel(bpy.types.Panel):
    """A panel in the tab; subclasses set bl_label and bl_order."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Avatar"

    def column(self) -> bpy.types.UILayout:
        return column_of(self.layout)


class StepPanel(Panel):
    """A step of the work: it stands open while it is its turn, and folds with a mark when it is done.

    Subclasses set ``step`` (one of step_state.STEPS) and draw ``body``, whose layout has the panel's full width.
    """

    bl_parent_id = "BLENDSPLAT_PT_work"
    bl_options = {"HIDE_HEADER"}  # Blender lets no script fold a panel of its own, but what is in it
    step = ""

    def draw(self, context: bpy.types.Context) -> None:
        scene = context.scene
        header, body = self.layout.panel_prop(scene.blendsplat, f"show_{self.step}")
        activity, done = step_state.activity(scene, self.step), step_state.done(scene, self.step)
        icon = {"running": "TIME", "failed": "ERROR"}.get(activity, "CHECKMARK" if done else "NONE")
        header.label(text=self.bl_label, icon=icon)
        if words := self.summary(context):
            aside = header.row()
            aside.alignment, aside.active = "RIGHT", False
            aside.label(text=words)
        self.header_buttons(header)
        if body is not None:
            self.body(context, body)

    def summary(self, context: bpy.types.Context) -> str:
        """A few words on what came of it, for the header."""
        return ""

    def header_buttons(self, header: bpy.types.UILayout) -> None:
        """What else is in the header."""

    def body(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        """What is seen when it stands open."""


def column_of(layout: bpy.types.UILayout) -> bpy.types.UILayout:
    """A column of settings: names to the left, values to the right."""
    layout.use_property_split = True
    layout.use_property_decorate = False
    return layout.column()


def section(
    layout: bpy.types.UILayout, name: str, title: str, *, closed: bool = False, icon: str = "NONE"
) -> bpy.types.UILayout | None:
    """A part of a panel that folds -> its layout, None while it is folded. ``layout``: a panel's own."""
    header, body = layout.panel(f"BLENDSPLAT_{name}", default_closed=closed)
    header.label(text=title, icon=icon)
    return body


def progress(column: bpy.types.UILayout, fraction: float, text: str) -> None:
    """A bar with words beneath it that always fit."""
    column.progress(factor=fraction, text=f"{fraction:.0%}")
    column.label(text=text)


def paragraph(context: bpy.types.Context, column: bpy.types.UILayout, sentence: str, icon: str) -> None:
    """A sentence, wrapped to the sidebar's width."""
    width = (
        max(24, int(context.region.width / (7.2 * context.preferences.system.ui_scale)) - 6) if context.region else 40
    )
    box = column.column(align=True)
    sentence = bpy.app.translations.pgettext_iface(sentence)
    for index, line in enumerate(textwrap.wrap(sentence, width) or [""]):
        box.label(text=line, icon=icon if index == 0 else "BLANK1")


def identity_sliders(column: bpy.types.UILayout, head: bpy.types.Object) -> None:
    """The sliders of a head's shape. What bears a name (a child's face) is above what is only numbered."""
    blocks = head.data.shape_keys.key_blocks
    names = [key.name for key in blocks[1:] if key.name.startswith(head_drivers.identity_key(""))]
    names.sort(key=lambda name: name[-1:].isdigit())
    column.use_property_split = False
    for name in names:
        column.prop(blocks[name], "value", text=name, slider=True)


def placeholder(path: object) -> str:
    """What an empty field means."""
    return str(path) if path is not None else ""
