# SPDX-License-Identifier: GPL-3.0-or-later
"""The keyframes of a head: bake what plays, thin out what is dense, mirror a whole performance."""

from __future__ import annotations

import math
from typing import Any

import bpy
from bpy.props import BoolProperty, FloatProperty

from ...scene import avatar_rig, clean_curves, face_owners, head_bake, learned_keys, mirror_keys, sides, timeline_heads
from ...scene.face_pose import slider_names
from . import common, face_posing
from .face_clipboard import NO_SIDES
from .reading_frames import ReadsFrames


class ChangesKeys(common.Grey):
    """Mix-in: a button that needs a head with keyframes that can be changed."""

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head, carrier = face_posing.meant(context)
        return face_owners.why_no_keys(head, carrier) or face_owners.no_curves(head, carrier)


class BakeHead(ReadsFrames, common.Grey, bpy.types.Operator):
    """Write what the head's sliders and bones do in a range of frames as plain keyframes, whatever makes them do it:
    drivers, constraints, strips of the NLA. What played until now is muted, not lost. Esc gives up"""

    bl_idname = "blendsplat.bake_head"
    bl_label = "Bake Head"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        return face_owners.why_no_keys(face_posing.meant(context)[0])

    def subject(self, context: bpy.types.Context) -> bpy.types.Object:
        head, _ = face_posing.meant(context)
        assert head is not None  # it is grey else
        return head

    def rows(self, subject: bpy.types.Object, frames: list[int], seconds: float) -> list[head_bake.Row] | None:
        if not face_owners.has_face(subject):
            return None
        take = head_bake.row_of(subject, head_bake.sliders_of(subject))
        return timeline_heads.walk(subject, frames, seconds, take)

    def end(self, context: bpy.types.Context, subject: bpy.types.Object, rows: list[head_bake.Row]) -> set[str]:
        if sentence := face_owners.why_no_keys(subject):  # it may have been linked or tweaked meanwhile
            return self.failed(context, sentence)
        count = head_bake.write(subject, self.frames, rows, f"{subject.name} baked")
        self.report({"INFO"}, f"{subject.name}: {len(self.frames)} frames of {count} curves are keyed.")
        return self.solved(context)


class CleanKeys(ChangesKeys, bpy.types.Operator):
    """Take away the keyframes that the movement does not need, so that what is left can be edited by hand. Keys that
    you shaped yourself, and locked curves, stay"""

    bl_idname = "blendsplat.clean_keys"
    bl_label = "Clean Keys"
    bl_options = {"REGISTER", "UNDO"}

    sliders: FloatProperty(
        name="Sliders", default=0.01, min=0.0, soft_max=0.1, max=10.0, precision=3, step=0.1,
        description="How far a slider may be off where a key was: 0.01 is a hundredth of a slider from 0 to 1",
    )  # fmt: skip
    turns: FloatProperty(
        name="Turns", default=math.radians(0.2), min=0.0, soft_max=math.radians(5), max=math.pi, subtype="ANGLE",
        description="How far head, jaw and eyes may be turned off where a key was",
    )  # fmt: skip
    places: FloatProperty(
        name="Places", default=0.0005, min=0.0, soft_max=0.01, max=1.0, subtype="DISTANCE", precision=4,
        description="How far the head may be moved off where a key was",
    )  # fmt: skip
    smooth: BoolProperty(
        name="Smooth",
        default=True,
        description="Leave smooth curves with handles, which are easy to edit, instead of straight lines between keys",
    )
    with_avatar: BoolProperty(
        name="The Avatar's, Too",
        default=True,
        description="Also clean the keyframes of the avatar's own blendshapes, within the tolerance of sliders",
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        head, carrier = face_posing.meant(context)
        done = clean_curves.Cleaned()
        for owner in face_owners.owners(head, carrier if self.with_avatar else None):
            done += clean_curves.clean(owner, self.tolerance_of, smooth=self.smooth)
        if not done.before:
            sentence = "There was nothing to clean: no curve has three keys"
            self.report({"INFO"}, f"{sentence}{', or they are locked' if done.locked else ''}.")
            return self.solved(context)
        gone = done.before - done.after
        told = f"{gone:,} of {done.before:,} keys are gone ({gone / done.before:.0%}); {_worst(done)}"
        locked = f" {done.locked} curves are locked, and stayed." if done.locked else ""
        self.report({"INFO"}, told + locked)
        return self.solved(context)

    def tolerance_of(self, curve: Any) -> float | None:
        """What the curve may be off, in its own unit; None: it is not cleaned."""
        channel = curve.data_path.rpartition(".")[2]
        if channel.startswith("rotation"):
            return self.turns if channel != "rotation_quaternion" else self.turns / 2
        return {"value": self.sliders, "location": self.places}.get(channel)


def _worst(done: clean_curves.Cleaned) -> str:
    """The largest error in a few words: a slider's as a number, a turn's in degrees, a place's in millimetres."""
    place, channel = done.worst.rpartition(" ")[0], done.worst.rpartition(" ")[0].rpartition(".")[2]
    name = place.partition('["')[2].rpartition('"]')[0]
    if channel.startswith("rotation"):
        size = f"{math.degrees(done.error):.2g} degrees"
    else:
        size = f"{done.error * 1000:.2g} mm" if channel == "location" else f"{done.error:.2g}"
    return f"the largest error is {size} ({name})."


class MirrorPerformance(ChangesKeys, bpy.types.Operator):
    """Exchange left and right of the whole performance: its keyframes change sides, the head turns the other way. Doing
    it again brings back what was"""

    bl_idname = "blendsplat.mirror_performance"
    bl_label = "Mirror Performance"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        head, carrier = face_posing.meant(context)
        if sentence := face_owners.why_no_keys(head, carrier) or face_owners.no_curves(head):
            return sentence
        return "" if sides.have_sides(slider_names(head)) else NO_SIDES

    def execute(self, context: bpy.types.Context) -> set[str]:
        head, _ = face_posing.meant(context)
        keys, rig = head.data.shape_keys, head.blendsplat.rig
        changed = mirror_keys.mirror(keys, lambda name: name in keys.key_blocks)
        if rig is not None:
            changed += mirror_keys.mirror(rig, lambda name: name in rig.pose.bones)
        follow = [item for item in face_owners.avatars_on(head) if _baked(item)]
        for carrier in follow:
            carrier.blendsplat.live = True
        context.scene.frame_set(context.scene.frame_current)
        told = f"{changed} curves are mirrored."
        if follow:
            told += " Live is on, so that the avatar follows: Bake makes keyframes of it."
        self.report({"INFO"}, told)
        return self.solved(context)


def _baked(carrier: bpy.types.Object) -> bool:
    """Whether an avatar plays keyframes of its own that the mirrored head contradicts."""
    keys = carrier.data.shape_keys
    if carrier.blendsplat.live or not avatar_rig.can_follow(carrier) or not keys.is_editable:
        return False
    return keys.animation_data is not None and bool(learned_keys.found(carrier))


register, unregister = bpy.utils.register_classes_factory((BakeHead, CleanKeys, MirrorPerformance))
