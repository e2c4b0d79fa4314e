# SPDX-License-Identifier: GPL-3.0-or-later
"""Between "Track" and "Train": the head over the clip, where the tracking is doubtful, frames corrected by hand."""

from __future__ import annotations

import bpy

from ...scene import tracking_quality, tracking_view, tracking_words
from ..operators import check_tracking
from .job_button import step
from .layout import StepPanel, column_of, paragraph, section


class BLENDSPLAT_PT_check_tracking(StepPanel):
    bl_label = "Check the Tracking"
    bl_order = 5
    step = "check"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return check_tracking.meant_head(context) is not None

    def summary(self, context: bpy.types.Context) -> str:
        head = check_tracking.meant_head(context)
        quality = tracking_quality.read(head) if head is not None else None
        if quality is None:
            return ""
        share = quality.share_below(context.scene.blendsplat.quality_limit)
        return f"{share:.0%} doubtful" if share else "All good"

    def body(self, context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
        head = check_tracking.meant_head(context)
        column = column_of(layout)
        _look(context, column, head)
        if note := context.scene.blendsplat.scene_note:
            paragraph(context, column, note, "INFO")
        _sits(context, column, head)
        if (part := section(layout, "doubtful", "Doubtful Frames")) is not None:
            _quality(context, column_of(part), head)
        if (doubts := check_tracking.doubted(context.scene, head)) and (
            part := section(layout, "doubted_parts", "Doubtful Parts")
        ) is not None:
            _parts(context, column_of(part), doubts)
        if (part := section(layout, "corrections", "Correct by Hand")) is not None:
            _corrections(context, column_of(part), head)


def _look(context: bpy.types.Context, column: bpy.types.UILayout, head: bpy.types.Object) -> None:
    """The head over the clip."""
    if len(check_tracking.tracked_heads(context.scene)) > 1:
        column.label(text=head.name, icon="USER")
    if not tracking_view.looks(context.screen):
        column.operator("blendsplat.look_through_clip", icon="VIEW_CAMERA")
        return
    column.operator("blendsplat.back_to_my_view", icon="LOOP_BACK")
    row = column.row(align=True)
    row.use_property_split = False
    row.prop(head.blendsplat, "overlay", expand=True)
    row = column.row()
    row.enabled = head.blendsplat.overlay != tracking_view.OFF
    row.prop(head.blendsplat, "overlay_opacity", slider=True)
    if context.space_data is not None and context.space_data.type == "VIEW_3D":
        column.prop(context.space_data.overlay, "show_bones")


def _sits(context: bpy.types.Context, column: bpy.types.UILayout, head: bpy.types.Object) -> None:
    """How the mesh sits on the head over the whole clip, and what the engine had to say."""
    told = tracking_words.read(check_tracking.clip_of(context.scene, head))
    if told is None:
        return
    for words, share in (("Bare head without mesh: {}", told.uncovered), ("Mesh beside the head: {}", told.beyond)):
        if share is not None:
            column.label(text=bpy.app.translations.pgettext_iface(words).format(f"{share:.1%}"), icon="BLANK1")
    for note in told.notes:
        paragraph(context, column, note, "INFO")


def _quality(context: bpy.types.Context, column: bpy.types.UILayout, head: bpy.types.Object) -> None:
    """How good the tracking is, and where it is worst."""
    scene, quality = context.scene, tracking_quality.read(head)
    if quality is None:
        paragraph(context, column, "This tracking does not say how good it is: track the clip again.", "INFO")
        return
    now = head.get(tracking_quality.QUALITY)
    if isinstance(now, float):
        column.label(text=f"This frame: {now:.2f}", icon=_icon(now, scene.blendsplat.quality_limit))
        for words in _measured(head, scene.frame_current_final):
            column.label(text=words, icon="BLANK1")
    column.prop(scene.blendsplat, "quality_limit", slider=True)
    share = quality.share_below(scene.blendsplat.quality_limit)
    count = round(share * len(quality.values))
    paragraph(context, column, f"{share:.0%} doubtful ({count} of {len(quality.values)} frames)", "BLANK1")
    column.operator("blendsplat.show_curves", icon="GRAPH")
    column.operator("blendsplat.go_to_worst", icon="TRACKING_FORWARDS_SINGLE")
    for frame, value in check_tracking.ranked(scene, head, check_tracking.WORST):
        region = tracking_quality.worst_region(head, frame)
        words = f"Frame {frame}: {value:.2f}" + (f", {region}" if region else "")
        column.operator("blendsplat.go_to_frame", text=words, icon="BLANK1", emboss=False).frame = frame


def _parts(context: bpy.types.Context, column: bpy.types.UILayout, doubts: list[tracking_quality.Doubt]) -> None:
    """Which parts of the face the pictures do not confirm, and from when to when."""
    named = check_tracking.longest(doubts)
    tell, now = bpy.app.translations.pgettext_iface, context.scene.frame_current
    for doubt in named:
        icon = "RADIOBUT_ON" if doubt.first <= now <= doubt.last else "BLANK1"
        words = f"{tell(doubt.part)}: {doubt.first}-{doubt.last}" if doubt.last > doubt.first else (
            f"{tell(doubt.part)}: {doubt.first}"
        )  # fmt: skip
        column.operator("blendsplat.go_to_doubt", text=words, icon=icon, emboss=False).frame = doubt.first
    if len(doubts) > len(named):
        column.label(text=tell("and {} more").format(len(doubts) - len(named)), icon="BLANK1")
    paragraph(context, column, "Covered, blurred or badly lit: training leaves these parts out there.", "INFO")


def _measured(head: bpy.types.Object, frame: float) -> list[str]:
    """What this frame's quality comes from."""
    error = tracking_quality.at(head, tracking_quality.ERROR, frame)
    confidence = tracking_quality.at(head, tracking_quality.CONFIDENCE, frame)
    words = [] if error is None else [f"Landmark error {error:.1f}%"]
    if confidence is not None:
        region = tracking_quality.worst_region(head, frame)
        words.append(f"Confidence {confidence:.0%}" + (f", least: {region}" if region else ""))
    return words


def _corrections(context: bpy.types.Context, column: bpy.types.UILayout, head: bpy.types.Object) -> None:
    """Frames that were put right by hand."""
    scene = context.scene
    known = check_tracking.corrected_frames(scene, head)
    if not known:
        words = "Where a frame is wrong, turn or move the head or drag sliders; then correct it."
        paragraph(context, column, words, "INFO")
    column.operator("blendsplat.pose_head", icon="BONE_DATA")
    step(context, column, "correct", "blendsplat.correct_frame", "PINNED")
    for row, frame in known:
        line = column.row(align=True)
        icon = "RADIOBUT_ON" if frame == scene.frame_current else "KEYFRAME_HLT"
        line.operator("blendsplat.go_to_frame", text=f"Frame {frame}", icon=icon, emboss=False).frame = frame
        line.operator("blendsplat.forget_correction", text="", icon="X", emboss=False).row = row


def _icon(quality: float, limit: float) -> str:
    return "CHECKMARK" if quality >= limit else "ERROR"


CLASSES = (BLENDSPLAT_PT_check_tracking,)
